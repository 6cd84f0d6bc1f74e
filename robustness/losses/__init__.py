"""Contrastive losses, batched over leading member axes.

`LOSSES[name](u, v, **hyperparameters)` takes embeddings of two views of shape (..., images, dim) and
hyperparameters that are numbers or tensors of the leading shape (...), and returns values of that shape.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from robustness.losses.info_nce import dcl, dhel, info_nce, nt_xent
from robustness.losses.kernel import kcl_gaussian, kcl_imq, kcl_log

Loss = Callable[..., Tensor]

LOSSES: Mapping[str, Loss] = {
    "info_nce": info_nce,
    "nt_xent": nt_xent,
    "dcl": dcl,
    "dhel": dhel,
    "kcl_gaussian": kcl_gaussian,
    "kcl_log": kcl_log,
    "kcl_imq": kcl_imq,
}

__all__ = ["LOSSES", "Loss", "dcl", "dhel", "info_nce", "kcl_gaussian", "kcl_imq", "kcl_log", "nt_xent"]
