"""What no encoder can do: statement T19.

Source:
    Lee et al., ICML 2025, arXiv:2506.09781.
"""

from collections.abc import Sequence

from torch import Tensor

from robustness.theory.free import minimised, unit
from robustness.theory.objectives import entropy
from robustness.theory.statement import Measurement, below, equal


def similarities() -> Sequence[Measurement]:
    """T19: for unit embeddings of n images, E[positive] <= 1 + E[negative] + 1 / (n - 1), and it is reached."""
    found = []
    for num_images, dim in ((2, 3), (5, 4), (16, 8)):
        place = f"n = {num_images}, d = {dim}"
        drawn_at_random = unit(2, 1000, num_images, dim, seed=num_images)
        trained = minimised(entropy("info_nce"), num_images, dim, starts=2)
        adverse = minimised(lambda u, v: -_excess(u, v), num_images, dim, starts=3)
        found += [
            below(f"largest excess of 1,000 random encoders, {place}", _excess(*drawn_at_random).max(), 1e-12),
            below(f"largest excess of encoders that InfoNCE trained, {place}", _excess(*trained[:2]).max(), 1e-12),
            equal(f"largest excess that ascent finds, {place}", -adverse[2][0], 0.0, within=1e-9),
        ]
    return found


def _excess(u: Tensor, v: Tensor) -> Tensor:
    """E[positive] - 1 - E[negative] - 1 / (n - 1)."""
    products, count = u @ v.mT, u.shape[-2]
    positive = products.diagonal(dim1=-2, dim2=-1).mean(-1)
    negative = (products.sum((-2, -1)) - count * positive) / (count * (count - 1))
    return positive - 1 - negative - 1 / (count - 1)
