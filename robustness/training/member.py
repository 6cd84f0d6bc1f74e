"""One trial while it trains: its network, its settings, and how it fares."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from robustness.losses.installed import find_loss
from robustness.models import Network, build
from robustness.plan import num_updates, steps_per_epoch
from robustness.training.schedule import learning_rates
from robustness.trial import Status, Trial

Embeddings = Float[Tensor, "n dim"]

PRECISIONS = {"float64": torch.float64}
"""Of weights, where it isn't float32: half precision is for what autocast computes."""


class Member:
    """The state of one trial. Nothing here depends on who shares the slice.

    Args:
        trial: what to train.
        network: with the trial's initial weights; belongs to this member.
    """

    def __init__(self, trial: Trial, network: Network) -> None:
        self.trial = trial
        self.network = network
        self.dtype = precision(trial)
        self.hyperparameters = {name: float(value) for name, value in trial.hyperparameters.items()}
        self.learning_rates: list[float] = []
        self.status: Status = "ok"
        self.error: str | None = None
        self.updates = 0
        self.mean_loss = math.nan
        self.history: list[dict[str, Any]] = []
        self.outcomes: dict[str, Any] = {}
        self.evaluate_seconds = 0.0
        if trial.training is not None:
            known = {"num_images": float(trial.dataset.num_train)}
            bound = find_loss(trial.loss).space.bound
            self.hyperparameters |= {name: value for name, value in known.items() if name in bound}
            total, steps = num_updates(trial), steps_per_epoch(trial)
            self.learning_rates = learning_rates(trial.training, total=total, steps_per_epoch=steps)

    def loss(self, first: Embeddings, second: Embeddings) -> Float[Tensor, ""]:
        """The trial's loss of one batch."""
        assert self.trial.training is not None
        tile = self.trial.training.get("tile")
        return find_loss(self.trial.loss).compute(first, second, tile=tile, **self.hyperparameters)

    def close_epoch(self, mean_loss: float) -> None:
        """Keep the epoch's mean loss; a loss, gradient or weight that was not finite means `diverged`.

        One look per epoch is enough: a NaN or infinite gradient stays in the weights, and a NaN or
        infinite loss in the sum.
        """
        self.mean_loss = mean_loss
        if not math.isfinite(mean_loss):
            self.fail("diverged", f"the loss was not finite in an epoch that ended at update {self.updates}")
        elif not all(bool(weights.isfinite().all()) for weights in self.network.parameters()):
            self.fail("diverged", f"a weight was not finite after update {self.updates}")

    def fail(self, status: Status, error: str) -> None:
        """Freeze this member; the others go on."""
        self.status, self.error = status, " ".join(error.split())[:500]

    def state_dict(self) -> dict[str, Any]:
        """How it fares, without the network."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the member whose `state_dict` this is."""
        for name in _STATE:
            setattr(self, name, state[name])


_STATE = ("status", "error", "updates", "mean_loss", "history", "outcomes", "evaluate_seconds")


def precision(trial: Trial) -> torch.dtype:
    """The dtype of the trial's weights; float32 for the untrained encoder."""
    return PRECISIONS.get((trial.training or {}).get("precision", "float32"), torch.float32)


def members_of(trials: Sequence[Trial], device: torch.device) -> list[Member]:
    """Members with their networks on a device; trials of a pack begin with equal weights, drawn once."""
    network = initial_network(trials[0]).to(device)
    return [Member(trial, copy.deepcopy(network)) for trial in trials]


def initial_network(trial: Trial) -> Network:
    """The trial's network before its first update, in the trial's precision."""
    model = trial.model
    network = build(
        model["encoder"],
        model["projector"],
        dataset=trial.dataset,
        batch_norm=model["projector_batch_norm"],
        seed=trial.seed,
    )
    return network.to(precision(trial))
