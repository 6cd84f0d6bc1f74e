"""The learning rate at every update."""

import math
from collections.abc import Mapping
from typing import Any

REFERENCE_BATCH = 256


def learning_rates(training: Mapping[str, Any], *, total: int, steps_per_epoch: int) -> list[float]:
    """One learning rate per update: linear warm-up, then constant or half a cosine towards 0.

    Args:
        training: learning_rate, learning_rate_scaling (with reference batch 256), batch_size, schedule,
            warmup_epochs.
        total: number of updates.
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
