"""How many members of a pack are trained at once, and whether as one computation: a rule, never a measurement.

The rule needs the cost of one member's step, which the network's structure tells. Its constants were measured;
`benchmarks/slices.py` derives them again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from robustness.data.policies import CHOOSING
from robustness.models.cost import Cost, network_cost
from robustness.plan import batch_policy, images_per_update
from robustness.trial import Trial

Fuse = Literal["auto", "always", "never"]

FUSED_FLOPS = 2**27
"""On a CPU: fused where a member's forward pass of a batch takes at most so many floating-point operations; beyond,
a member's own step fills the processor, and stacks only move more memory through the caches."""

ACCELERATOR_FUSED_FLOPS = 2**36
"""The same elsewhere, where starting kernels costs more."""

SLICE_BYTES = 2**30
"""On a CPU: what weights, gradients, optimiser state and activations of a slice may take."""

ACCELERATOR_SHARE = 0.6
"""The same elsewhere, as a share of the memory that the process may use."""

_STATES = 4
"""Weight, gradient and two moments."""
_COPIES = 3
"""Of activations: themselves, their gradients, and what is between two layers."""


@dataclass(frozen=True)
class Slicing:
    """How many members at once, and whether fused."""

    size: int
    fused: bool


def slicing(trials: Sequence[Trial], device: torch.device, *, fuse: Fuse = "auto") -> Slicing:
    """The slices of a pack: it depends on the trials, the kind of device and its memory alone.

    Members are fused where that is faster, and as many go into a slice as fit the memory; in a loop activations
    live one member at a time.
    """
    trial = trials[0]
    cost = cost_of(trial)
    if trial.training is None:
        return Slicing(len(trials), fused=False)
    batch_size = images_per_update(trial)
    images = 2 * min(batch_size, int(trial.training.get("micro_batch") or batch_size))
    fused = fuse == "always" or (fuse == "auto" and _fuses(cost, images, device))
    state = _STATES * cost.parameters * trial_bytes(trial)
    activations = _COPIES * cost.activations * images * trial_bytes(trial)
    available = _memory(device)
    most = available // (state + activations) if fused else (available - activations) // state
    # A policy that chooses by embeddings gives every member batches of its own.
    most = 1 if batch_policy(trial) in CHOOSING else most
    return Slicing(max(1, min(len(trials), int(most))), fused=fused)


def trial_bytes(trial: Trial) -> int:
    """Of one number."""
    return 8 if (trial.training or {}).get("precision") == "float64" else 4


def _fuses(cost: Cost, images: int, device: torch.device) -> bool:
    most = FUSED_FLOPS if device.type == "cpu" else ACCELERATOR_FUSED_FLOPS
    return cost.operations * images <= most


def _memory(device: torch.device) -> int:
    if device.type != "cuda":
        return SLICE_BYTES
    share = torch.cuda.get_per_process_memory_fraction(device)
    return int(ACCELERATOR_SHARE * share * torch.cuda.get_device_properties(device).total_memory)


def cost_of(trial: Trial) -> Cost:
    """What the trial's network costs on one image."""
    model = trial.model
    return network_cost(
        model["encoder"], model["projector"], dataset=trial.dataset, batch_norm=model["projector_batch_norm"]
    )
