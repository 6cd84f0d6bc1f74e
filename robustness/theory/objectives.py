"""The losses that statements are about, as functions of two views."""

from collections.abc import Mapping

from torch import Tensor

from robustness.losses import LOSSES
from robustness.theory.free import Objective, Points

TEMPERATURE = 0.5
GAMMA = 16.0

KERNELS: Mapping[str, Mapping[str, float]] = {
    "kcl_gaussian": {"bandwidth": 2.0},
    "kcl_log": {"bandwidth": 2.0},
    "kcl_imq": {"kernel_scale": 2.0},
    "kcl_riesz": {"kernel_order": 1.0},
    "kcl_gaussian_riesz": {"kernel_order": 1.0},
    "kcl_laplace": {"bandwidth": 2.0},
    "kcl_linear_gaussian": {"bandwidth": 2.0},
}
"""Kernel losses with the hyperparameter of their kernel."""


def loss(name: str, **hyperparameters: float | Tensor) -> Objective:
    """A loss of the registry at some hyperparameters."""

    def value(u: Points, v: Points) -> Tensor:
        return LOSSES[name].compute(u, v, tile=None, **hyperparameters)

    return value


def entropy(name: str) -> Objective:
    """A loss of the InfoNCE line at temperature .5."""
    return loss(name, temperature=TEMPERATURE)


def kernel(name: str) -> Objective:
    """A kernel loss of `KERNELS` at gamma 16."""
    return loss(name, gamma=GAMMA, **KERNELS[name])
