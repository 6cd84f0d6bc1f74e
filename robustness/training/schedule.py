"""The learning rate at every update."""

import math
from collections.abc import Mapping
from typing import Any

REFERENCE_BATCH = 256


def learning_rates(training: Mapping[str, Any], *, total: int, steps_per_epoch: int) -> list[float]:
    """One learning rate per update: linear warm-up, then constant or half a cosine towards 0.

    With p the peak, w the updates of the warm-up and T all updates, update t = 0 .. T - 1 has

        p (t + 1) / w                                where t < w
        p or p (1 + cos(pi (t - w) / (T - w))) / 2   from w on

    so no update is made at a rate of 0.

    Args:
        training: learning_rate, learning_rate_scaling (with reference batch 256), batch_size, schedule,
            warmup_epochs (rounded to whole updates, and at most all of them).
        total: number of updates.
        steps_per_epoch: whole batches in the training split.

    Returns:
        `total` positive rates; the peak is learning_rate, times batch_size / 256 or its root where that is asked.

    Source:
        Goyal et al., Accurate, Large Minibatch SGD, 2017 (warm-up, linear scaling). arXiv:1706.02677.
        Loshchilov and Hutter, SGDR, ICLR 2017, equation 5 (cosine). arXiv:1608.03983.
    """
    ratio = training["batch_size"] / REFERENCE_BATCH
    scale = {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[training["learning_rate_scaling"]]
    peak = training["learning_rate"] * scale
    warmup = min(round(training["warmup_epochs"] * steps_per_epoch), total)
    rising = [peak * (step + 1) / warmup for step in range(warmup)]
    if training["schedule"] == "constant":
        return rising + [peak] * (total - warmup)
    rest = total - warmup
    return rising + [peak * (1 + math.cos(math.pi * step / rest)) / 2 for step in range(rest)]
