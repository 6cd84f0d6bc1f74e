"""Every outcome of a member, on images and views that all members of all packs of one seed share."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from robustness.data import Splits, as_floats, two_views
from robustness.metrics import AT_THE_END, Labelled, measure
from robustness.metrics.lidar import IMAGES_PER_DIMENSION, NUM_VIEWS
from robustness.seeds import derive
from robustness.training.corrupted import cifar_c_outcomes, corrupted_outcomes
from robustness.training.features import Features, features
from robustness.training.free import free_outcomes
from robustness.training.gradients import gradient_outcomes
from robustness.training.member import Member
from robustness.trial import Trial

_MOST_KEPT_BYTES = 2**28

Views = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class ProbeSet:
    """All splits, unaugmented, and views of the first test images; the same for every batch size.

    Args:
        views: two of the first `num_images` test images.
        seed, augmentation: of the trial; they decide all views.
    """

    splits: Splits
    views: Views
    num_classes: int
    num_images: int
    seed: int
    augmentation: str

    @property
    def is_free(self) -> bool:
        """Whether these are free pairs, all of which are measured."""
        return self.num_classes == 0

    def more_views(self, num_images: int) -> Iterator[Views]:
        """Pairs of views of the first test images, so that there are `NUM_VIEWS` in all.

        Kept for the next member where that takes less than 256 MiB.
        """
        if self.views[0][:num_images].nbytes * (NUM_VIEWS - 2) > _MOST_KEPT_BYTES:
            yield from self._more_views(num_images)
            return
        if num_images not in self._kept:
            self._kept[num_images] = tuple(self._more_views(num_images))
        yield from self._kept[num_images]

    def _more_views(self, num_images: int) -> Iterator[Views]:
        images = as_floats(self.splits.test.images[:num_images])
        for pair in range(1, NUM_VIEWS // 2):
            yield two_views(images, self.augmentation, seed=derive(self.seed, "probe", pair))

    @cached_property
    def _kept(self) -> dict[int, tuple[Views, ...]]:
        return {}


def probe_set(trial: Trial, splits: Splits) -> ProbeSet:
    """The probe set of a trial: it depends on its data, its seed and `evaluation.images`."""
    num_images, augmentation = int(trial.evaluation["images"]), trial.data["augmentation"]
    images = as_floats(splits.test.images if trial.dataset.is_free else splits.test.images[:num_images])
    views = two_views(images, augmentation, seed=derive(trial.seed, "probe"))
    return ProbeSet(splits, views, trial.dataset.num_classes, num_images, trial.seed, augmentation)


def evaluate(member: Member, probes: ProbeSet, *, epoch: float, final: bool) -> None:
    """Measure a member and keep a row of history; features that are not finite mean `diverged`.

    On the way (not `final`) linear probes and lidar are left out: the former take longer than all else together,
    the latter needs eight more views of each image. Nearest neighbours follow accuracy over epochs as well.
    """
    started = time.perf_counter()
    splits = {
        "train": probes.splits.fit,
        "validation": probes.splits.validation,
        "test": probes.splits.test,
    }
    found = {name: features(member.network, split.images, member.dtype) for name, split in splits.items()}
    views = [features(member.network, view, member.dtype) for view in probes.views]
    if final and not probes.is_free:
        views += _features_of_more_views(member, probes, views[0])
    if not all(bool(x.isfinite().all()) for pair in [*found.values(), *views] for x in pair):
        member.fail("diverged", f"a representation was not finite after update {member.updates}")
        return
    h, z = (
        {name: Labelled(found[name][k], split.labels.to(found[name][k].device)) for name, split in splits.items()}
        for k in (0, 1)
    )
    member.outcomes = measure(
        h,
        z,
        [pair[0] for pair in views],
        [pair[1] for pair in views],
        probes=[probe for probe in member.trial.evaluation["probes"] if final or probe not in AT_THE_END],
        num_classes=probes.num_classes,
        num_images=probes.num_images,
    )
    member.outcomes |= _beyond_features(member, probes, views, final=final)
    member.outcomes["final_loss"] = None if math.isnan(member.mean_loss) else member.mean_loss
    member.history.append({"epoch": epoch, "updates": member.updates, **member.outcomes})
    member.evaluate_seconds += time.perf_counter() - started


def _beyond_features(member: Member, probes: ProbeSet, views: list[Features], *, final: bool) -> dict[str, Any]:
    """Outcomes that need the network itself, its loss, or other images; those of free pairs."""
    asked, found = member.trial.evaluation["probes"], dict[str, Any]()
    if "gradient" in asked and member.trial.training is not None:
        found |= gradient_outcomes(member, probes.splits)
    if final and "corruptions" in asked:
        found |= corrupted_outcomes(member, probes.splits.test.images[: probes.num_images])
    if final and "cifar_c" in asked:
        found |= cifar_c_outcomes(member, probes.splits, num_images=probes.num_images)
    if probes.is_free:
        found |= free_outcomes(member, views[0][1], views[1][1])
    return found


def _features_of_more_views(member: Member, probes: ProbeSet, first: Features) -> list[Features]:
    """As many as lidar takes, in the larger of the two spaces that have enough images for it; else none."""
    available = len(first[0])
    takes = [IMAGES_PER_DIMENSION * x.shape[1] for x in first]
    num_images = max((count for count in takes if count <= available), default=0)
    if num_images == 0:
        return []
    return [features(member.network, view, member.dtype) for pair in probes.more_views(num_images) for view in pair]
