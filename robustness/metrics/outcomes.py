"""All outcomes of one encoder, under the names of their columns."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from robustness.metrics.collapse import embedding_collapse, representation_collapse
from robustness.metrics.geometry import alignment, uniformity_and_wasserstein, unit_rows
from robustness.metrics.lidar import IMAGES_PER_DIMENSION, NUM_VIEWS, lidar
from robustness.metrics.linear import linear_probe, linear_sgd_top1
from robustness.metrics.neighbours import knn_top1, retrieval_top1
from robustness.metrics.spectrum import spectral_metrics, spectrum

PROBES: Mapping[str, tuple[str, ...]] = {
    "linear": ("linear_top1", "linear_top1_validation", "z_linear_top1"),
    "knn": ("knn_top1", "z_knn_top1"),
    "linear_sgd": ("linear_sgd_top1",),
    "retrieval": ("retrieval_top1",),
    "corruptions": (
        "retrieval_noise_top1", "retrieval_blur_top1", "retrieval_contrast_top1", "retrieval_brightness_top1",
        "retrieval_pixelate_top1", "retrieval_corrupted_top1",
    ),
    "cifar_c": ("retrieval_cifar_c_top1",),
    "gradient": ("gradient_norm", "gradient_squared_bias", "gradient_variance"),
}  # fmt: skip
"""The outcome columns that each probe fills."""

AT_THE_END = ("linear", "linear_sgd", "corruptions", "cifar_c")
"""Probes that are taken once, of the trained encoder."""

OF_TRAINING = ("corruptions", "cifar_c", "gradient")
"""Probes that need more than features of the splits: training measures them."""

WITHOUT_IMAGES = ("retrieval", "gradient")
"""Probes that need neither classes nor pixels: those that free pairs have."""

_GEOMETRY = (
    "alignment", "uniformity", "wasserstein", "effective_rank", "effective_rank_centered", "rankme",
    "participation_ratio", "stable_rank", "numerical_rank", "released_rank", "alpha_req", "lidar",
    "mean_norm", "total_variance",
)  # fmt: skip


class Labelled(NamedTuple):
    """Features of one split and their classes."""

    x: Float[Tensor, "n dim"]
    y: Int[Tensor, "n"]


def measured_columns(probes: Sequence[str]) -> set[str]:
    """The numeric outcome columns that a study with these probes fills."""
    probed = {column for probe in probes for column in PROBES[probe]}
    return probed | {f"{space}_{name}" for space in "hz" for name in _GEOMETRY} | {"final_loss"}


def measure(
    h: Mapping[str, Labelled],
    z: Mapping[str, Labelled],
    h_views: Sequence[Tensor],
    z_views: Sequence[Tensor],
    *,
    probes: Sequence[str],
    num_classes: int,
    num_images: int,
) -> dict[str, Any]:
    """Every outcome of one encoder.

    Args:
        h, z: representations and embeddings of the splits train, validation and test.
        h_views, z_views: the same of augmented views of the first test images: two of the first `num_images`, then,
            where lidar shall be measured, eight of the first ones, as many as it takes.
        probes: names of `PROBES`; those of `OF_TRAINING` are not for here.
        num_images: geometry and spectra look at no more test images than this; accuracies at all.

    Returns:
        Columns and their values; accuracies are shares, of h unless prefixed with z.
    """
    outcomes: dict[str, Any] = {}
    for probe in (probe for probe in probes if probe not in OF_TRAINING):
        outcomes |= _probed(probe, h, z, h_views, num_classes)
    eps = torch.finfo(h["test"].x.dtype).eps
    h_test, z_test = h["test"].x[:num_images].double(), unit_rows(z["test"].x[:num_images])
    h_sigma, z_sigma = spectrum(h_test), spectrum(z_test)
    h_metrics, z_metrics = (spectral_metrics(x, sigma=s, eps=eps) for x, s in ((h_test, h_sigma), (z_test, z_sigma)))
    geometry = {
        "h": h_metrics | _geometry(h_test, h_views) | _lidar(h_views),
        "z": z_metrics | _geometry(z_test, z_views) | _lidar([unit_rows(view) for view in z_views]),
    }
    return {
        **outcomes,
        **{f"{space}_{name}": value for space, metrics in geometry.items() for name, value in metrics.items()},
        "h_spectrum": h_sigma.tolist(),
        "z_spectrum": z_sigma.tolist(),
        "collapse": embedding_collapse(z_test, z_metrics),
        "h_collapse": representation_collapse(h_test, h_metrics),
    }


def _geometry(x: Tensor, views: Sequence[Tensor]) -> dict[str, float]:
    uniform, distance = uniformity_and_wasserstein(x)
    return {"alignment": alignment(views[0], views[1]), "uniformity": uniform, "wasserstein": distance}


def _lidar(views: Sequence[Tensor]) -> dict[str, float]:
    """Of as many images as it takes and no more, so that its bias is the same for all sizes; else nothing."""
    enough = IMAGES_PER_DIMENSION * views[0].shape[1]
    if len(views) < NUM_VIEWS or min(map(len, views)) < enough:
        return {}
    return {"lidar": lidar([view[:enough] for view in views])}


def _probed(
    probe: str,
    h: Mapping[str, Labelled],
    z: Mapping[str, Labelled],
    h_views: Sequence[Tensor],
    num_classes: int,
) -> dict[str, float]:
    if probe == "retrieval":
        return {"retrieval_top1": retrieval_top1(h_views[0], h_views[1])}
    if probe == "linear_sgd":
        return {"linear_sgd_top1": linear_sgd_top1(*h["train"], *h["test"], num_classes=num_classes)}
    if probe == "knn":
        scores = (knn_top1(*features["train"], *features["test"], num_classes=num_classes) for features in (h, z))
        return dict(zip(PROBES[probe], scores, strict=True))
    of_h, of_z = (
        linear_probe(*features["train"], *features["validation"], *features["test"], num_classes=num_classes)
        for features in (h, z)
    )
    return {"linear_top1": of_h.test, "linear_top1_validation": of_h.validation, "z_linear_top1": of_z.test}
