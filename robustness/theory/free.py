"""Free embeddings: points of two views that are optimised directly, many starts at once."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from robustness.seeds import derive

Points = Float[Tensor, "*starts n dim"]
Objective = Callable[[Points, Points], Float[Tensor, "*starts"]]


def drawn(*shape: int, seed: int, purpose: str = "points") -> Tensor:
    """Standard normals in float64."""
    generator = torch.Generator().manual_seed(derive(seed, "theory", purpose, *shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def unit(*shape: int, seed: int, purpose: str = "points") -> Tensor:
    """Uniform points of the unit sphere in float64."""
    return normalize(drawn(*shape, seed=seed, purpose=purpose), dim=-1)


def minimised(
    objective: Objective, num_points: int, dim: int, *, starts: int, seed: int = 0, steps: int = 2000
) -> tuple[Points, Points, Float[Tensor, "starts"]]:
    """The best that L-BFGS finds from random starts.

    Args:
        objective: of unit vectors of both views, a value for each start.
        starts: how many; they do not share a step, so none holds another up.
        steps: iterations of each.

    Returns:
        u, v and the objective of every start, the best one first.
    """
    found = [_one_minimum(objective, num_points, dim, start, seed, steps) for start in range(starts)]
    found.sort(key=lambda one: one[2])
    u, v = (torch.stack([one[k] for one in found]) for k in (0, 1))  # type: ignore[misc]
    return u, v, torch.tensor([one[2] for one in found], dtype=torch.float64)


def _one_minimum(
    objective: Objective, num_points: int, dim: int, start: int, seed: int, steps: int
) -> tuple[Tensor, Tensor, float]:
    both = drawn(2, num_points, dim, seed=seed, purpose=f"start {start}").requires_grad_()
    optimizer = torch.optim.LBFGS(
        [both], max_iter=steps, max_eval=2 * steps, history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=1e-13, tolerance_change=0.0,
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective(*normalize(both, dim=-1))
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    u, v = normalize(both.detach(), dim=-1)
    return u, v, float(objective(u, v))
