"""One member of a slice: a network, its optimiser and how it fares."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from robustness.losses.installed import find_loss
from robustness.models import Network, build
from robustness.plan import num_updates, steps_per_epoch
from robustness.training.gradient_cache import backward_in_micro_batches
from robustness.training.schedule import learning_rates
from robustness.trial import Status, Trial

Images = Float[Tensor, "n channels height width"]
Embeddings = Float[Tensor, "n dim"]

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


class Member:
    """The state of one trial while it trains. Nothing here depends on who shares the slice."""

    def __init__(self, trial: Trial, device: torch.device) -> None:
        self.trial = trial
        self.dtype = PRECISIONS[(trial.training or {}).get("precision", "float32")]
        self.network: Network = build(
            trial.model["encoder"],
            trial.model["projector"],
            dataset=trial.dataset,
            batch_norm=trial.model["projector_batch_norm"],
            seed=trial.seed,
        ).to(device, self.dtype)
        self.hyperparameters = {name: float(value) for name, value in trial.hyperparameters.items()}
        self.status: Status = "ok"
        self.error: str | None = None
        self.updates = 0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.losses_summed = 0
        self.mean_loss = math.nan
        self.history: list[dict[str, Any]] = []
        self.outcomes: dict[str, Any] = {}
        self.evaluate_seconds = 0.0
        if trial.training is not None:
            known = {"num_images": float(trial.dataset.num_train)}
            bound = find_loss(trial.loss).space.bound
            self.hyperparameters |= {name: value for name, value in known.items() if name in bound}
            self.optimizer = _optimizer(trial.training, self.network)
            self.learning_rates = learning_rates(
                trial.training, total=num_updates(trial), steps_per_epoch=steps_per_epoch(trial)
            )

    def update(self, views: tuple[Images, Images]) -> None:
        """One step on one batch; no synchronisation with the device."""
        assert self.trial.training is not None
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rates[self.updates]
        self.network.train()
        self.optimizer.zero_grad()
        micro_batch = self.trial.training.get("micro_batch")
        loss = backward_in_micro_batches(
            self.network,
            views,
            self._loss,
            embed=self._embed,
            micro_batch=len(views[0]) if micro_batch is None else micro_batch,
        )
        clip_norm = self.trial.training.get("clip_norm")
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip_norm)
        self.optimizer.step()
        self.updates += 1
        self.loss_sum += loss
        self.losses_summed += 1

    def _embed(self, images: Images) -> Embeddings:
        embeddings: Embeddings = self.network(images.to(self.dtype))[1]
        return embeddings

    def _loss(self, first: Embeddings, second: Embeddings) -> Tensor:
        assert self.trial.training is not None
        loss, tile = find_loss(self.trial.loss), self.trial.training.get("tile")
        return loss.compute(first, second, tile=tile, **self.hyperparameters)

    def close_epoch(self) -> None:
        """Keep the epoch's mean loss; a loss, gradient or weight that was not finite means `diverged`.

        One look per epoch is enough: a NaN or infinite gradient stays in the weights, and a NaN or
        infinite loss in the sum.
        """
        self.mean_loss = float(self.loss_sum) / max(self.losses_summed, 1)
        self.loss_sum.zero_()
        self.losses_summed = 0
        if not math.isfinite(self.mean_loss):
            self.fail("diverged", f"the loss was not finite in an epoch that ended at update {self.updates}")
        elif not all(bool(weights.isfinite().all()) for weights in self.network.parameters()):
            self.fail("diverged", f"a weight was not finite after update {self.updates}")

    def fail(self, status: Status, error: str) -> None:
        """Freeze this member; the others go on."""
        self.status, self.error = status, " ".join(error.split())[:500]


def _optimizer(training: Mapping[str, Any], network: Network) -> torch.optim.Optimizer:
    decay = training["weight_decay"]
    if training["optimizer"] == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=decay)
    return torch.optim.SGD(network.parameters(), lr=0.0, momentum=training["momentum"], weight_decay=decay)
