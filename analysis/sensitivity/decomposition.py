"""What each set of axes adds to the variance of a surface, and the indices that follow from it."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOST_SHAPLEY_AXES = 6


def subset_variances(values: Floats, weights: Sequence[Floats]) -> Floats:
    """Functional analysis of variance: what each set of axes alone adds to the variance of a surface.

    With E[f | x_u] the mean of f over the axes outside u,  V_u = Var E[f | x_u] - sum over v within u of V_v, found as
    the squared coefficients of f in a product of bases that begin with the constant. For instance of f(a, b) at
    equally weighted levels, V = [0, V_a, V_b, V_ab]:

        subset_variances(f[None], [np.full(len(f), 1 / len(f)), np.full(len(f.T), 1 / len(f.T))])[0]

    Args:
        values: (count, L_1, ..., L_d) of `count` surfaces, every L at least 2.
        weights: of the levels of each axis, (L_i,) summing to 1.

    Returns:
        (count, 2^d) in the order of `all_subsets`; the sum of a row is the variance of the surface.

    Source:
        Sobol, Global sensitivity indices for nonlinear mathematical models, Mathematics and Computers in
        Simulation 55, 2001, section 3.
    """
    dims = len(weights)
    parts = values - values.mean(axis=tuple(range(1, dims + 1)), keepdims=True)
    for axis, weight in enumerate(weights, 1):
        # A reflection that takes sqrt(weight) to the first coordinate: the basis without its matrix.
        mirror = np.sqrt(weight)
        mirror[0] += 1.0
        mirror /= np.linalg.norm(mirror)
        turned = np.moveaxis(parts, axis, -1) * np.sqrt(weight)
        parts = np.moveaxis(turned - 2 * (turned @ mirror)[..., None] * mirror, -1, axis)
    squares = parts**2
    for axis in range(1, dims + 1):
        squares = np.add.reduceat(squares, [0, 1], axis=axis)
    found: Floats = squares.transpose(0, *range(dims, 0, -1)).reshape(len(values), -1)
    found[:, 0] = 0.0
    return found


def all_subsets(count: int) -> Bools:
    """(2^d, d) every set of d things, by binary counting with the first as the lowest bit."""
    bits: Bools = (np.arange(2**count)[:, None] >> np.arange(count)) & 1 > 0
    return bits


def index_weights(members: Bools) -> Iterator[tuple[str, int, Floats]]:
    """The indices of every axis as weighted sums of V_u over V = sum V_u:

        S1_i: u = {i},    ST_i: all u with i,    shapley_i: all u with i, weight 1 / |u|

    Args:
        members: (2^d, d) from `all_subsets`.

    Yields:
        (measure, axis, (2^d,) weights); no Shapley effects above `MOST_SHAPLEY_AXES` axes.

    Source:
        Homma & Saltelli, Reliability Engineering and System Safety 52, 1996; Owen, SIAM/ASA Journal on Uncertainty
        Quantification 2, 2014, theorem 1 (Shapley effects).
    """
    sizes = np.maximum(members.sum(axis=1), 1)
    for axis in range(members.shape[1]):
        inside = members[:, axis].astype(float)
        yield "S1", axis, inside * (sizes == 1)
        yield "ST", axis, inside
        if members.shape[1] <= MOST_SHAPLEY_AXES:
            yield "shapley", axis, inside / sizes
