"""Retrieval under corruptions: whether the representation of a corrupted image finds the clean one."""

from statistics import fmean

from torch import Tensor

from robustness.data import Splits, as_floats
from robustness.data.cifar_c import corrupted_test_images
from robustness.data.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from robustness.metrics import retrieval_top1
from robustness.seeds import derive
from robustness.training.features import features
from robustness.training.member import Member

Outcomes = dict[str, float | list[float]]


def corrupted_outcomes(member: Member, images: Tensor) -> Outcomes:
    """Top-1 retrieval of clean test images by their corrupted selves, as representations, by cosine.

    Args:
        member: what is random depends on its seed alone, so that all families see the same noise.
        images: of the test split, as many as are measured.

    Returns:
        The means of each corruption over severities, their mean, and all numbers, severity by severity.

    Source:
        Cho et al., Mini-Batch Optimization of Contrastive Loss, 2023, arXiv:2307.05906, section 6.2.
    """
    clean = as_floats(images)
    own = features(member.network, clean, member.dtype)[0]
    found = {}
    for name in CORRUPTIONS:
        for severity in range(1, SEVERITIES + 1):
            seed = derive(member.trial.seed, "corrupt", name, severity)
            views = corrupted(clean, name, severity=severity, seed=seed)
            found[name, severity] = retrieval_top1(features(member.network, views, member.dtype)[0], own)
    means = {name: fmean(share for (of, _), share in found.items() if of == name) for name in CORRUPTIONS}
    return {
        **{f"retrieval_{name}_top1": mean for name, mean in means.items()},
        "retrieval_corrupted_top1": fmean(means.values()),
        "retrieval_severities": list(found.values()),
    }


def cifar_c_outcomes(member: Member, splits: Splits, *, num_images: int) -> Outcomes:
    """The same with the files of CIFAR-10-C or CIFAR-100-C: the mean over all of them and all severities.

    Args:
        num_images: of the test split, as many as are measured.
    """
    assert splits.corrupted is not None
    own = features(member.network, splits.test.images[:num_images], member.dtype)[0]
    shares = [
        retrieval_top1(features(member.network, images.to(own.device), member.dtype)[0], own)
        for images in corrupted_test_images(splits.corrupted, num_images=num_images)
    ]
    return {"retrieval_cifar_c_top1": fmean(shares)}
