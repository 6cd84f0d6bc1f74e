"""LARS: stochastic gradient descent whose steps are as long, relative to its weights, in every layer."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lars(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling, for large batches.

    With w a weight tensor, g its gradient, v its velocity (0 at first), lr the learning rate, m the momentum, b the
    weight decay and t the trust coefficient:

        ratio = t |w| / (|g| + b |w|)
        v <- m v + lr ratio (g + b w)
        w <- w - v

    The ratio is 1 where |w| or the divisor is 0. As in SimCLR, tensors of one dimension (biases, the scales and
    shifts of batch normalisation) have a ratio of 1 and no weight decay.

    Args:
        params: tensors or groups of them, as for any torch optimiser.
        lr: learning rate, at least 0; it enters the velocity, so a schedule does not change steps already begun.
        momentum: of the velocity, 0 to below 1.
        weight_decay: at least 0.
        trust_coefficient: how long a step is at a learning rate of 1, in lengths of the weights; above 0.

    Raises:
        ValueError: a setting outside its range.

    Source:
        You, Gitman, Ginsburg, Large Batch Training of Convolutional Networks, 2017, algorithm 1. arXiv:1708.03888.
        Tensors of one dimension: Chen et al., SimCLR, ICML 2020. arXiv:2002.05709; their code divides by |g + b w|.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        for name, value, allowed, rule in (
            ("lr", lr, lr >= 0, "at least 0"),
            ("momentum", momentum, 0 <= momentum < 1, "from 0 to below 1"),
            ("weight_decay", weight_decay, weight_decay >= 0, "at least 0"),
            ("trust_coefficient", trust_coefficient, trust_coefficient > 0, "above 0"),
        ):
            if not allowed:
                raise ValueError(f"{name}: expected a number {rule}, got {value!r}")
        settings = {"momentum": momentum, "weight_decay": weight_decay, "trust_coefficient": trust_coefficient}
        super().__init__(params, {"lr": lr, **settings})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every weight that has a gradient; returns what the closure returns, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    self._move(weights, weights.grad, group)
        return loss

    def _move(self, weights: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if weights.dim() > 1:
            trust = {name: group[name] for name in ("weight_decay", "trust_coefficient")}
            gradient = adapted_gradient(weights, gradient, **trust)
        state = self.state[weights]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weights)
        weights.sub_(state["velocity"].mul_(group["momentum"]).add_(gradient * group["lr"]))


def adapted_gradient(
    weights: Tensor, gradient: Tensor, *, weight_decay: float | Tensor, trust_coefficient: float = 0.001
) -> Tensor:
    """The decayed gradient of a layer, scaled by its trust ratio: `ratio (g + b w)` of `Lars`.

    A pure function of one member's layer: under `torch.vmap` it serves members that are stacked.

    Returns:
        Of the weights' shape.
    """
    size, slope = weights.norm(), gradient.norm()
    divisor = slope + weight_decay * size
    # Chosen on the device: asking for the numbers would wait for it.
    ratio = torch.where((size > 0) & (divisor > 0), trust_coefficient * size / divisor, 1.0)
    return ratio * (gradient + weight_decay * weights)
