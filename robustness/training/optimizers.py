"""The optimiser of a member, or of several members with equal settings, over stacked weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from robustness.training.lars import Lars


class MemberOptimizer:
    """Clips gradients and steps; each member of `parameters` by itself.

    Args:
        training: of the trial: optimizer, weight_decay, momentum, clip_norm, precision.
        parameters: of one member; or stacked, members on the leading axis.
        learning_rates: at every update.
        stacked: whether members are on a leading axis.
    """

    def __init__(
        self,
        training: Mapping[str, Any],
        parameters: Sequence[Tensor],
        learning_rates: Sequence[float],
        *,
        stacked: bool,
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rates = learning_rates
        self.clip_norm: float | None = training.get("clip_norm")
        self.stacked = stacked
        self.optimizer = _optimizer(training, self.parameters)
        half = training.get("precision") == "float16"
        device = self.parameters[0].device.type
        # Gradients below float16's smallest number vanish unless the loss is scaled up.
        self.scaler = torch.amp.GradScaler(device, enabled=half)

    def step(self, update: int) -> None:
        """The update after `update` others, by the gradients that the parameters hold."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rates[update]
        self.scaler.unscale_(self.optimizer)
        if self.clip_norm is not None:
            clip_norms(self.parameters, self.clip_norm, stacked=self.stacked)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """What a later `step` depends on."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the optimiser whose `state_dict` this is."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])


def clip_norms(parameters: Sequence[Tensor], most: float, *, stacked: bool) -> None:
    """Scale gradients down to the norm `most` over all parameters; each stacked member's by its own norm."""
    if not stacked:
        torch.nn.utils.clip_grad_norm_(parameters, most)
        return
    gradients = [weights.grad for weights in parameters if weights.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
    factor = (most / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp_max(1)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *(1,) * (gradient.dim() - 1)))


def _optimizer(training: Mapping[str, Any], parameters: list[Tensor]) -> torch.optim.Optimizer:
    name, decay = training["optimizer"], training["weight_decay"]
    # A first step that is skipped for its scale leaves fused momentum uninitialised (torch 2.14).
    fused = training.get("precision") != "float16"
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=0.0, weight_decay=decay, fused=fused)
    if name == "lars":
        return Lars(parameters, lr=0.0, momentum=training["momentum"], weight_decay=decay)
    return torch.optim.SGD(parameters, lr=0.0, momentum=training["momentum"], weight_decay=decay, fused=fused)
