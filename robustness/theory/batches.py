"""Which batches lead to which optimum: statements T1 to T5.

The loss of the paper is InfoNCE in both directions, summed, at temperature 1: twice our mean of both.

Source:
    Cho, Sreenivasan, Lee, Mun, Yi, Lee, Lee, Suh, Papailiopoulos & Lee, Mini-Batch Optimization of Contrastive Loss,
    2023, arXiv:2307.05906.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from robustness.data.designs import num_classes, parallel_class
from robustness.metrics import cross_polytope_distance, simplex_distance
from robustness.theory import objectives
from robustness.theory.free import Objective, Points, minimised, unit
from robustness.theory.statement import Measurement, above, below, between, equal

Batches = Int[Tensor, "batches size"]

FANO = ((0, 1, 2), (0, 3, 4), (0, 5, 6), (1, 3, 5), (1, 4, 6), (2, 3, 6), (2, 4, 5))
"""The lines of the smallest projective plane: every pair of its seven points lies on one."""


def loss(u: Points, v: Points) -> Float[Tensor, "*starts"]:
    """InfoNCE in both directions, summed, at temperature 1."""
    return 2 * objectives.loss("info_nce", temperature=1.0)(u, v)


def mean_over(batches: Batches) -> Objective:
    """The mean loss of some batches, as an objective."""
    return lambda u, v: loss(u[..., batches, :], v[..., batches, :]).mean(-1)


def simplex_loss(num_points: int) -> float:
    """The loss of the regular simplex, both views equal."""
    return 2 * math.log1p((num_points - 1) * math.exp(-num_points / (num_points - 1)))


def full_batch() -> Sequence[Measurement]:
    """T1: the full batch has the simplex as its optimum."""
    found = []
    for num_points, dim in ((4, 3), (8, 8), (16, 15)):
        u, v, values = minimised(loss, num_points, dim, starts=2)
        place = f"N = {num_points}, d = {dim}"
        found += [
            equal(f"least loss, {place}", values[0], simplex_loss(num_points), within=1e-9),
            below(f"distance to the simplex, {place}", simplex_distance(u[0] @ v[0].T), 1e-4),
        ]
    return found


def all_batches() -> Sequence[Measurement]:
    """T2: so has the mean over all batches of a size, which is another function."""
    found = []
    for num_points, size in ((6, 2), (6, 3), (8, 2)):
        objective = mean_over(subsets(num_points, size))
        u, v, values = minimised(objective, num_points, num_points, starts=2)
        place = f"N = {num_points}, B = {size}"
        at_simplex = 2 * math.log1p((size - 1) * math.exp(-num_points / (num_points - 1)))
        elsewhere = unit(2, 20, num_points, num_points, seed=size)
        apart = (objective(*elsewhere) - loss(*elsewhere)).abs().min()
        found += [
            equal(f"least mean loss, {place}", values[0], at_simplex, within=1e-9),
            below(f"distance to the simplex, {place}", simplex_distance(u[0] @ v[0].T), 1e-4),
            above(f"least difference from the full loss at 20 random points, {place}", apart, 0.1),
        ]
    return found


def fixed_batches() -> Sequence[Measurement]:
    """T3: one partition for ever has another optimum, with a higher full loss."""
    found = []
    for num_points, size, dim in ((8, 2, 8), (8, 2, 3), (8, 4, 8)):
        u, v, values = minimised(mean_over(torch.arange(num_points).view(-1, size)), num_points, dim, starts=3)
        place = f"N = {num_points}, B = {size}, d = {dim}"
        products = u[0] @ v[0].T
        negatives = products[~torch.eye(num_points, dtype=torch.bool)]
        least = (num_points - size) / ((size - 1) * (num_points - 1) ** 2)
        found += [
            equal(f"its own least loss, {place}", values[0], simplex_loss(size), within=1e-9),
            equal(f"least positive, {place}", products.diagonal().min(), 1.0, within=1e-8),
            equal(f"mean negative, {place}", negatives.mean(), -1 / (num_points - 1), within=1e-8),
            between(f"variance of negatives, {place}", negatives.var(correction=0), least - 1e-8, num_points * least),
            above(
                f"full loss above its optimum, {place}", loss(u[0], v[0]) - simplex_loss(num_points),
                0.05 if size == 2 else 0.0,
            ),
        ]  # fmt: skip
    return found


def balanced_blocks() -> Sequence[Measurement]:
    """T4: some of all batches suffice if, and only if, every pair is in equally many of them."""
    fano, plane = torch.tensor(FANO), _affine_plane(9)
    pairs, triples = subsets(8, 2), subsets(9, 3)
    families = (
        ("Fano plane, 7 of 35 triples", fano, 0.0),
        ("affine plane of order 3, 12 of 84 triples", plane, 0.0),
        ("Fano plane without one block", fano[:-1], 3.3),
        ("all 84 triples of 9 without one", triples[:-1], 0.33),
        ("all 28 pairs of 8 without one", pairs[:-1], 1.78),
    )
    found = []
    for name, blocks, expected in families:
        num_points, size = int(blocks.max()) + 1, blocks.shape[1]
        u, v, values = minimised(mean_over(blocks), num_points, num_points, starts=3)
        distance = simplex_distance(u[0] @ v[0].T)
        at_simplex = 2 * math.log1p((size - 1) * math.exp(-num_points / (num_points - 1)))
        if expected == 0:
            found.append(equal(f"least mean loss, {name}", values[0], at_simplex, within=1e-10))
            found.append(below(f"distance to the simplex, {name}", distance, 1e-4))
        else:
            found.append(above(f"simplex above the least mean loss, {name}", at_simplex - values[0], 1e-4))
            found.append(equal(f"distance to the simplex, {name}", distance, expected, within=0.02 * expected + 0.005))
    return found


def cross_polytopes() -> Sequence[Measurement]:
    """T5: with half as many dimensions the optimum is the cross-polytope; on a circle, the ring."""
    optimum = 2 * math.log(math.e + 1 / math.e + 6) - 2
    u, v, values = minimised(loss, 8, 4, starts=6)
    angles = 2 * np.pi * np.arange(8) / 8
    ring = 2 * math.log(np.exp(np.cos(angles)).sum()) - 2
    on_circle = minimised(loss, 8, 2, starts=6)[2]
    return [
        equal("least loss, N = 8, d = 4", values[0], optimum, within=1e-9),
        equal("that number to six digits", optimum, 2.413505, within=5e-7),
        below("distance to the cross-polytope", cross_polytope_distance(u[0] @ v[0].T), 1e-4),
        equal("least loss, N = 8, d = 2: the ring", on_circle[0], ring, within=1e-9),
    ]


def subsets(num_points: int, size: int) -> Batches:
    """Every subset of a size."""
    return torch.tensor(list(itertools.combinations(range(num_points), size)))


def _affine_plane(num_points: int) -> Batches:
    size = math.isqrt(num_points)
    classes = range(num_classes(num_points, batch_size=size))
    return torch.from_numpy(np.vstack([parallel_class(num_points, batch_size=size, index=index) for index in classes]))
