"""All outcomes of one encoder, under the names of their columns."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from robustness.metrics.collapse import embedding_collapse, representation_collapse
from robustness.metrics.geometry import alignment, uniformity_and_wasserstein, unit_rows
from robustness.metrics.probes import knn_top1, linear_probe
from robustness.metrics.spectrum import spectral_metrics, spectrum

PROBES: Mapping[str, tuple[str, ...]] = {
    "linear": ("linear_top1", "linear_top1_validation", "z_linear_top1"),
    "knn": ("knn_top1", "z_knn_top1"),
}
"""The outcome columns that each probe fills."""

_GEOMETRY = (
    "alignment", "uniformity", "wasserstein", "effective_rank", "effective_rank_centered", "rankme",
    "participation_ratio", "stable_rank", "numerical_rank", "released_rank", "mean_norm", "total_variance",
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
    h_views: tuple[Tensor, Tensor],
    z_views: tuple[Tensor, Tensor],
    *,
    probes: Sequence[str],
    num_classes: int,
    num_images: int,
) -> dict[str, Any]:
    """Every outcome of one encoder.

    Args:
        h, z: representations and embeddings of the splits train, validation and test.
        h_views, z_views: the same of two augmented views of the first `num_images` test images.
        probes: names of `PROBES`.
        num_images: geometry and spectra look at no more test images than this; accuracies at all.

    Returns:
        Columns and their values; accuracies are shares, of h unless prefixed with z.
    """
    outcomes: dict[str, Any] = {}
    for prefix, features in (("", h), ("z_", z)):
        for probe in probes:
            outcomes |= {f"{prefix}{name}": value for name, value in _probed(probe, features, num_classes).items()}
    outcomes.pop("z_linear_top1_validation", None)
    eps = torch.finfo(h["test"].x.dtype).eps
    h_test, z_test = h["test"].x[:num_images], unit_rows(z["test"].x[:num_images])
    for prefix, x, views in (("h", h_test, h_views), ("z", z_test, z_views)):
        uniform, distance = uniformity_and_wasserstein(x)
        geometry = {"alignment": alignment(*views), "uniformity": uniform, "wasserstein": distance}
        outcomes |= {f"{prefix}_{name}": value for name, value in (geometry | spectral_metrics(x, eps=eps)).items()}
        outcomes[f"{prefix}_spectrum"] = spectrum(x).tolist()
    outcomes["collapse"] = embedding_collapse(z_test)
    outcomes["h_collapse"] = representation_collapse(h_test)
    return outcomes


def _probed(probe: str, features: Mapping[str, Labelled], num_classes: int) -> dict[str, float]:
    train, validation, test = features["train"], features["validation"], features["test"]
    if probe == "knn":
        return {"knn_top1": knn_top1(*train, *test, num_classes=num_classes)}
    found = linear_probe(*train, *validation, *test, num_classes=num_classes)
    return {"linear_top1": found.test, "linear_top1_validation": found.validation}
