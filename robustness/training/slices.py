"""How many members of a pack are trained at once: a rule, never a measurement."""

from collections.abc import Sequence

from robustness.models import build
from robustness.trial import Trial

_STATE_BYTES = 2**30
_BYTES_PER_PARAMETER = 16
"""Weight, gradient and two moments in float32."""


def slice_size(trials: Sequence[Trial]) -> int:
    """As many members as keep weights, gradients and optimiser state within 1 GiB; at least one."""
    trial = trials[0]
    network = build(
        trial.model["encoder"],
        trial.model["projector"],
        dataset=trial.dataset,
        batch_norm=trial.model["projector_batch_norm"],
        seed=trial.seed,
    )
    num_parameters = sum(weights.numel() for weights in network.parameters())
    return max(1, min(len(trials), _STATE_BYTES // (num_parameters * _BYTES_PER_PARAMETER)))
