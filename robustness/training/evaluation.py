"""Every outcome of a member, on images and views that all members of all packs of one seed share."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from robustness.data import Splits, two_views
from robustness.metrics import Labelled, measure
from robustness.seeds import derive
from robustness.training.member import Member
from robustness.trial import Trial

_IMAGES_AT_ONCE = 1024
AT_THE_END = ("linear",)
"""Probes that are fitted once, on the trained encoder."""


@dataclass(frozen=True)
class ProbeSet:
    """All splits, unaugmented, and two views of the first test images; the same for every batch size."""

    splits: Splits
    views: tuple[Tensor, Tensor]
    num_classes: int
    num_images: int


def probe_set(trial: Trial, splits: Splits) -> ProbeSet:
    """The probe set of a trial: it depends on its data, its seed and `evaluation.images`."""
    num_images = int(trial.evaluation["images"])
    views = two_views(splits.test.images[:num_images], trial.data["augmentation"], seed=derive(trial.seed, "probe"))
    return ProbeSet(splits, views, trial.dataset.num_classes, num_images)


def evaluate(member: Member, probes: ProbeSet, *, epoch: float, final: bool) -> None:
    """Measure a member and keep a row of history; features that are not finite mean `diverged`.

    On the way (not `final`) linear probes are left out: each takes longer than all else together, and
    nearest neighbours follow accuracy over epochs as well.
    """
    started = time.perf_counter()
    splits = {
        "train": probes.splits.fit,
        "validation": probes.splits.validation,
        "test": probes.splits.test,
    }
    features = {name: _features(member, split.images) for name, split in splits.items()}
    views = [_features(member, view) for view in probes.views]
    if not all(bool(x.isfinite().all()) for pair in [*features.values(), *views] for x in pair):
        member.fail("diverged", f"a representation was not finite after update {member.updates}")
        return
    h, z = ({name: Labelled(features[name][k], splits[name].labels) for name in splits} for k in (0, 1))
    member.outcomes = measure(
        h,
        z,
        (views[0][0], views[1][0]),
        (views[0][1], views[1][1]),
        probes=[probe for probe in member.trial.evaluation["probes"] if final or probe not in AT_THE_END],
        num_classes=probes.num_classes,
        num_images=probes.num_images,
    )
    member.outcomes["final_loss"] = None if math.isnan(member.mean_loss) else member.mean_loss
    member.history.append({"epoch": epoch, "updates": member.updates, **member.outcomes})
    member.evaluate_seconds += time.perf_counter() - started


@torch.no_grad()
def _features(member: Member, images: Tensor) -> tuple[Tensor, Tensor]:
    member.network.eval()
    starts = range(0, len(images), _IMAGES_AT_ONCE)
    parts = [member.network(images[start : start + _IMAGES_AT_ONCE].to(member.dtype)) for start in starts]
    return torch.cat([h for h, _ in parts]), torch.cat([z for _, z in parts])
