"""Which images meet in a batch: by chance, by design, or by how high their loss is now.

Every choice is seeded, and every batch has exactly `batch_size` images.
"""

import itertools
import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from robustness.data.designs import check_design, parallel_class
from robustness.seeds import derive

Batches = Int[Tensor, "steps batch"]

MOST_SUBSETS = 100_000
"""Of `all_subsets`: a batch each, all of them in every epoch."""


CHOOSING = ("ordered", "spectral")
"""Policies that choose by the embeddings of one encoder: its batches are its own."""

CANDIDATES_PER_BATCH = 10
"""Of `ordered`: so many batches are scored for each that is trained on, as k = 1500 and q = 150 of its paper."""


def check_policy(policy: str, num_images: int, *, batch_size: int) -> None:
    """Raise a ValueError of one line where a policy has no batches of these sizes."""
    left = num_images % batch_size
    if policy == "fixed" and left:
        rule = f"expected a batch size that divides the {num_images:,} images, got {batch_size}"
        raise ValueError(f"fixed: {rule}; the same {left} would never be trained on")
    if policy == "balanced":
        check_design(num_images, batch_size=batch_size)
    if policy == "all_subsets":
        digits = _log10_binomial(num_images, batch_size)
        count = math.comb(num_images, batch_size) if digits < 15 else math.inf
        if count > MOST_SUBSETS:
            got = f"{count:,}" if math.isfinite(count) else f"about 10^{digits:.0f}"
            rule = f"expected at most {MOST_SUBSETS:,} subsets, got {got}"
            raise ValueError(f"all_subsets: {rule} of {batch_size} out of {num_images} images")


def epoch_batches(policy: str, num_images: int, *, batch_size: int, seed: int, epoch: int) -> Batches:
    """Indices of every batch of one epoch, of a policy that looks at no embeddings.

    Raises:
        ValueError: the policy has no batches of these sizes.
    """
    if policy == "full":
        return torch.arange(num_images)[None, :]
    if policy == "fixed":
        return shuffled_batches(num_images, batch_size=batch_size, seed=seed, epoch=0)
    of_epoch = {"shuffled": shuffled_batches, "balanced": balanced_batches, "all_subsets": all_subsets}[policy]
    return of_epoch(num_images, batch_size=batch_size, seed=seed, epoch=epoch)


def shuffled_batches(num_images: int, *, batch_size: int, seed: int, epoch: int) -> Batches:
    """A new partition in each epoch, the last partial batch dropped.

    It depends on the trial's seed, the batch size and the epoch: on nothing that a loss could change.
    """
    order = torch.randperm(num_images, generator=generator_of(seed, "order", batch_size, epoch))
    steps = num_images // batch_size
    return order[: steps * batch_size].view(steps, batch_size)


def all_subsets(num_images: int, *, batch_size: int, seed: int, epoch: int) -> Batches:
    """Every subset of `batch_size` images once, in a new order in each epoch.

    Raises:
        ValueError: there are more than `MOST_SUBSETS`.
    """
    check_policy("all_subsets", num_images, batch_size=batch_size)
    subsets = torch.tensor(list(itertools.combinations(range(num_images), batch_size)))
    return subsets[torch.randperm(len(subsets), generator=generator_of(seed, "subsets", batch_size, epoch))]


def balanced_batches(num_images: int, *, batch_size: int, seed: int, epoch: int) -> Batches:
    """A partition in each epoch such that over a cycle of epochs every pair of images meets equally often.

    Epoch e takes the e-th parallel class of a resolvable block design (`robustness.data.designs`), whose points are the
    images in an order drawn once. Cho et al. train on all C(N, B) batches because the optimum of the full batch is
    then the only one; this has the same optimum with far fewer.

    Raises:
        ValueError: no design is known for these sizes; the message names sizes nearby.
    """
    points = torch.randperm(num_images, generator=generator_of(seed, "points", batch_size))
    blocks = torch.from_numpy(parallel_class(num_images, batch_size=batch_size, index=epoch))
    order = torch.randperm(len(blocks), generator=generator_of(seed, "blocks", batch_size, epoch))
    return points[blocks[order]]


def ordered_batches(
    num_images: int,
    loss: Callable[[Batches], Float[Tensor, " steps"]],
    *,
    batch_size: int,
    candidates: int,
    chosen: int,
    seed: int,
    epoch: int,
) -> Batches:
    """Of random batches, those with the highest loss, the highest first (ordered SGD).

    Args:
        loss: of each of several batches, by the current weights, without a graph.
        candidates: k, how many batches are drawn; images of a batch differ, batches may overlap.
        chosen: q, how many are kept.

    Source:
        Kawaguchi & Lu, Ordered SGD, AISTATS 2020, arXiv:1907.04371; for contrastive losses Cho et al., 2023,
        arXiv:2307.05906, section 5 (k = 1500, q = 150).
    """
    generator = generator_of(seed, "candidates", batch_size, epoch)
    drawn = torch.rand(candidates, num_images, generator=generator).topk(batch_size, dim=1).indices
    losses = loss(drawn)
    highest = torch.argsort(losses, descending=True, stable=True)[:chosen]
    return drawn[highest.to(drawn.device)]


def _log10_binomial(total: int, chosen: int) -> float:
    parts = (math.lgamma(count + 1) for count in (total, chosen, total - chosen))
    whole, *rest = parts
    return (whole - sum(rest)) / math.log(10)


def generator_of(seed: int, purpose: str, *parts: int) -> torch.Generator:
    """A generator on the CPU for one purpose of one trial's seed."""
    return torch.Generator().manual_seed(derive(seed, purpose, *parts))
