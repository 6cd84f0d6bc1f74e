"""Contrastive losses, batched over leading member axes.

`LOSSES[name](u, v, **hyperparameters)` takes embeddings of two views of shape (..., images, dim) and
hyperparameters that are numbers or tensors which broadcast against the leading shape (...), and returns values
of that shape.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from robustness.losses.checks import Loss
from robustness.losses.decorrelation import barlow_twins, vicreg
from robustness.losses.info_nce import dcl, dhel, dhel_sum, info_nce, nt_xent
from robustness.losses.kernel import (
    gaussian,
    inverse_multiquadric,
    kcl_gaussian,
    kcl_gaussian_riesz,
    kcl_imq,
    kcl_laplace,
    kcl_linear_gaussian,
    kcl_log,
    kcl_riesz,
    laplace,
    logarithmic,
    riesz,
)
from robustness.losses.neighbours import align_uniform, nt_xent_vrns, siglip, spectral, temperature_free, uniformity
from robustness.losses.pair_weights import (
    alpha_direct,
    alpha_direct_backprop,
    alpha_entropy,
    alpha_inverse,
    alpha_square,
)
from robustness.losses.pairwise.anchors import Anchors
from robustness.losses.pairwise.loss import PairwiseLoss
from robustness.losses.phi_psi import (
    info_nce_epsilon,
    lifted_structured,
    mine,
    modified_triplet,
    n_plus_one_tuplet,
    soft_triplet,
    triplet,
    triplet_contrastive,
)
from search_spaces.families import SPACES

_FORMULAS: Mapping[str, PairwiseLoss | Callable[..., Tensor]] = {
    "info_nce": PairwiseLoss(info_nce, "other view", shared="exponentials", positive_in_sum=True),
    "nt_xent": PairwiseLoss(nt_xent, "both views", shared="exponentials", positive_in_sum=True),
    "dcl": PairwiseLoss(dcl, "both views", shared="exponentials", positive_in_sum=False),
    "dhel": PairwiseLoss(dhel, "same view", shared="exponentials", positive_in_sum=False),
    "dhel_sum": PairwiseLoss(dhel_sum, "same view", shared="exponentials"),
    "info_nce_one_sided": PairwiseLoss(info_nce, "other view", one_sided=True),
    "dhel_one_sided": PairwiseLoss(dhel, "same view", one_sided=True),
    "kcl_gaussian": PairwiseLoss(kcl_gaussian, "same view", shared="pairs", kernel=gaussian),
    "kcl_log": PairwiseLoss(kcl_log, "same view", shared="pairs", kernel=logarithmic),
    "kcl_imq": PairwiseLoss(kcl_imq, "same view", shared="pairs", kernel=inverse_multiquadric),
    "kcl_riesz": PairwiseLoss(kcl_riesz, "same view", shared="pairs", kernel=riesz),
    "kcl_gaussian_riesz": PairwiseLoss(kcl_gaussian_riesz, "same view", shared="pairs"),
    "kcl_laplace": PairwiseLoss(kcl_laplace, "same view", shared="pairs", kernel=laplace),
    "kcl_linear_gaussian": PairwiseLoss(kcl_linear_gaussian, "same view", shared="pairs"),
    "info_nce_epsilon": PairwiseLoss(info_nce_epsilon, "both views", shared="exponentials"),
    "mine": PairwiseLoss(mine, "both views", shared="exponentials"),
    "triplet": PairwiseLoss(triplet, "both views"),
    "soft_triplet": PairwiseLoss(soft_triplet, "both views", shared="exponentials"),
    "n_plus_one_tuplet": PairwiseLoss(n_plus_one_tuplet, "both views", shared="exponentials"),
    "lifted_structured": PairwiseLoss(lifted_structured, "both views", shared="exponentials"),
    "modified_triplet": PairwiseLoss(modified_triplet, "both views"),
    "triplet_contrastive": PairwiseLoss(triplet_contrastive, "both views"),
    "alpha_entropy": PairwiseLoss(alpha_entropy, "both views"),
    "alpha_direct": PairwiseLoss(alpha_direct, "both views"),
    "alpha_inverse": PairwiseLoss(alpha_inverse, "both views"),
    "alpha_square": PairwiseLoss(alpha_square, "both views"),
    "alpha_direct_backprop": PairwiseLoss(alpha_direct_backprop, "both views"),
    "align_uniform": PairwiseLoss(uniformity, "same view", pool=align_uniform, shared="exponentials"),
    "siglip": PairwiseLoss(siglip, "other view", one_sided=True),
    "spectral": PairwiseLoss(spectral, "other view", one_sided=True),
    "nt_xent_vrns": PairwiseLoss(nt_xent_vrns, "both views"),
    "temperature_free": PairwiseLoss(temperature_free, "both views"),
    "barlow_twins": barlow_twins,
    "vicreg": vicreg,
}

LOSSES: Mapping[str, Loss] = {name: Loss(name, formula, SPACES[name]) for name, formula in _FORMULAS.items()}
"""Every loss by its name."""

__all__ = ["LOSSES", "Anchors", "Loss", "PairwiseLoss"]
