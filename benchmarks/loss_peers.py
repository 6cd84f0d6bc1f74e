"""What each family is compared with, and at which hyperparameters.

A peer is another implementation of the same formula: its value is ours up to `scale`, which depends on the batch
size alone. One peer is no such thing: `lightly_nt_xent` stands beside `dhel` and `kcl_gaussian` as a measure of the
machine, because the times of these losses' released code are known only beside it (see `loss_report.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import plain_torch
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor], Tensor]

SETTINGS: Mapping[str, Mapping[str, float]] = {
    "info_nce": {"temperature": 0.5},
    "nt_xent": {"temperature": 0.5},
    "dcl": {"temperature": 0.5},
    "dhel": {"temperature": 0.5},
    "dhel_sum": {"temperature": 0.5},
    "info_nce_one_sided": {"temperature": 0.5},
    "dhel_one_sided": {"temperature": 0.5},
    "kcl_gaussian": {"bandwidth": 2.0, "gamma": 16.0},
    "kcl_log": {"bandwidth": 2.0, "gamma": 16.0},
    "kcl_imq": {"kernel_scale": 2.0, "gamma": 16.0},
    "kcl_riesz": {"kernel_order": 1.0, "gamma": 16.0},
    "kcl_gaussian_riesz": {"kernel_order": 1.0, "gamma": 16.0},
    "kcl_laplace": {"bandwidth": 2.0, "gamma": 16.0},
    "kcl_linear_gaussian": {"bandwidth": 2.0, "gamma": 16.0},
    "info_nce_epsilon": {"temperature": 0.5, "epsilon": 1.0},
    "mine": {},
    "triplet": {"margin": 0.2},
    "soft_triplet": {"temperature": 0.5, "margin": 0.2},
    "n_plus_one_tuplet": {},
    "lifted_structured": {"margin": 0.2},
    "modified_triplet": {"slope": 1.0},
    "triplet_contrastive": {},
    "alpha_entropy": {"temperature": 0.5},
    "alpha_direct": {"exponent": 4.0, "temperature": 0.5},
    "alpha_direct_backprop": {"exponent": 4.0, "temperature": 0.5},
    "alpha_inverse": {"power": 1.0, "temperature": 0.5},
    "alpha_square": {"temperature": 0.5},
    "align_uniform": {"exponent": 2.0, "bandwidth": 2.0, "weight": 1.0},
    "siglip": {"temperature": 0.1, "bias": -10.0},
    "spectral": {"scale": 1.0},
    "nt_xent_vrns": {"temperature": 0.5, "weight": 30.0, "num_images": 50_000.0},
    "temperature_free": {},
    "barlow_twins": {"redundancy_weight": 0.005},
    "vicreg": {"invariance_weight": 0.2, "variance_weight": 12.5, "covariance_weight": 1.0},
}


@dataclass(frozen=True)
class Peer:
    """Another implementation of a family.

    build takes the hyperparameters and the dimension and imports the library; peak_bytes is the peak at batch size M,
    extrapolated from a measured one; ours = scale(M) * the peer's value.
    """

    name: str
    build: Callable[[Mapping[str, float], int], LossFunction]
    peak_bytes: Callable[[int], float]
    scale: Callable[[int], float] = lambda _: 1.0


def _matrices(count: float, *, views: int) -> Callable[[int], float]:
    return lambda size: count * 4 * (views * size) ** 2


def _triplet_bytes(size: int) -> float:
    """All triplets as one boolean cube as long as it has fewer than 2^31 cells, later a list of indices."""
    cells = (2 * size) ** 3
    return 1.2 * cells if cells < 2**31 else _matrices(18, views=2)(size)


def _plain(function: Callable[..., Tensor], count: float, *, views: int) -> Peer:
    return Peer(
        "plain torch", lambda settings, _: lambda u, v: function(u, v, **settings), _matrices(count, views=views)
    )


def _lightly_nt_xent(settings: Mapping[str, float], _: int) -> LossFunction:
    from lightly.loss import NTXentLoss

    # 0.5 where the family has no temperature: the time does not depend on it.
    return NTXentLoss(temperature=settings.get("temperature", 0.5))


def _lightly_dcl(settings: Mapping[str, float], _: int) -> LossFunction:
    from lightly.loss import DCLLoss

    return DCLLoss(temperature=settings["temperature"])


def _lightly_hypersphere(settings: Mapping[str, float], _: int) -> LossFunction:
    from lightly.loss.hypersphere_loss import HypersphereLoss

    return HypersphereLoss(t=settings["bandwidth"], lam=settings["weight"], alpha=settings["exponent"])


def _lightly_barlow_twins(settings: Mapping[str, float], _: int) -> LossFunction:
    from lightly.loss import BarlowTwinsLoss

    return BarlowTwinsLoss(lambda_param=settings["redundancy_weight"])


def _lightly_vicreg(settings: Mapping[str, float], dim: int) -> LossFunction:
    from lightly.loss import VICRegLoss

    # lightly averages the squared distance over dimensions and the variance term over the views; the paper sums.
    return VICRegLoss(
        lambda_param=dim * settings["invariance_weight"],
        mu_param=2 * settings["variance_weight"],
        nu_param=settings["covariance_weight"],
    )


def _pml_nt_xent(settings: Mapping[str, float], _: int) -> LossFunction:
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    return SelfSupervisedLoss(NTXentLoss(temperature=settings["temperature"]))


def _pml_supcon(settings: Mapping[str, float], _: int) -> LossFunction:
    from pytorch_metric_learning.losses import SelfSupervisedLoss, SupConLoss

    return SelfSupervisedLoss(SupConLoss(temperature=settings["temperature"]))


def _pml_info_nce_one_sided(settings: Mapping[str, float], _: int) -> LossFunction:
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    return SelfSupervisedLoss(NTXentLoss(temperature=settings["temperature"]), symmetric=False)


def _pml_triplet(settings: Mapping[str, float], _: int) -> LossFunction:
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.losses import SelfSupervisedLoss, TripletMarginLoss
    from pytorch_metric_learning.reducers import MeanReducer

    triplet = TripletMarginLoss(margin=settings["margin"], distance=CosineSimilarity(), reducer=MeanReducer())
    return SelfSupervisedLoss(triplet)


def _pml_vicreg(settings: Mapping[str, float], dim: int) -> LossFunction:
    from pytorch_metric_learning.losses import VICRegLoss

    vicreg = VICRegLoss(
        invariance_lambda=dim * settings["invariance_weight"],
        variance_mu=2 * settings["variance_weight"],
        covariance_v=settings["covariance_weight"],
    )
    return lambda u, v: vicreg(u, ref_emb=v)


_REFERENCE = Peer("lightly NTXentLoss", _lightly_nt_xent, _matrices(5, views=2))

PEERS: Mapping[str, Mapping[str, Peer]] = {
    "info_nce": {"plain": _plain(plain_torch.info_nce, 8, views=1)},
    "nt_xent": {
        "lightly": Peer("NTXentLoss", _lightly_nt_xent, _matrices(5, views=2)),
        "pml": Peer("NTXentLoss", _pml_nt_xent, lambda size: 18 * (2 * size) ** 3),
        "pml_supcon": Peer("SupConLoss", _pml_supcon, _matrices(13, views=2)),
        "plain": _plain(plain_torch.nt_xent, 4, views=2),
    },
    "dcl": {
        "lightly": Peer("DCLLoss", _lightly_dcl, _matrices(8, views=2)),
        "plain": _plain(plain_torch.dcl, 6, views=2),
    },
    "dhel": {"lightly_nt_xent": _REFERENCE, "plain": _plain(plain_torch.dhel, 9, views=1)},
    "kcl_gaussian": {"lightly_nt_xent": _REFERENCE, "plain": _plain(plain_torch.kcl_gaussian, 6, views=1)},
    "info_nce_one_sided": {
        "pml": Peer("NTXentLoss", _pml_info_nce_one_sided, lambda size: 18 * size**3),
    },
    "triplet": {
        "pml": Peer("TripletMarginLoss", _pml_triplet, _triplet_bytes, lambda size: 2 * size - 2),
    },
    "align_uniform": {
        "lightly": Peer("HypersphereLoss", _lightly_hypersphere, _matrices(7, views=1)),
        "plain": _plain(plain_torch.align_uniform, 6, views=1),
    },
    "siglip": {"plain": _plain(plain_torch.siglip, 9, views=1)},
    "barlow_twins": {"lightly": Peer("BarlowTwinsLoss", _lightly_barlow_twins, _matrices(0, views=1))},
    "vicreg": {
        "lightly": Peer("VICRegLoss", _lightly_vicreg, _matrices(0, views=1)),
        "pml": Peer("VICRegLoss", _pml_vicreg, _matrices(0, views=1)),
    },
}
