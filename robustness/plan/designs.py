"""Which configurations of a family are known beforehand: every combination, or scattered points."""

from itertools import product

import numpy as np
from scipy.stats import qmc

from search_spaces.axes import Axis
from search_spaces.dimensions import Value
from search_spaces.families import UNTRAINED
from search_spaces.sections import Design
from search_spaces.study import Family, Study

Configuration = dict[str, Value]

_COORDINATES = 32
"""Points always have this many: even ones for shared axes, odd ones for private axes, in their order.

So one more axis at the end of either list moves no value on the others, and the first axes of both lists
have the coordinates in which Sobol points are most even.
"""


def family_axes(study: Study, family: Family) -> list[Axis]:
    """The axes of one family: the shared ones that it has, then its own."""
    private = set(family.hyperparameters)
    foreign = {name for other in study.families.values() for name in other.hyperparameters} - private
    return [axis for name, axis in study.axes.items() if name not in foreign] + list(family.axes.values())


def varying_axes(study: Study, family: Family) -> list[Axis]:
    """The axes of one family that have more than one value; `untrained` has none."""
    return [] if family.loss == UNTRAINED else [axis for axis in family_axes(study, family) if axis.varies]


def configurations(study: Study, family: Family) -> list[Configuration]:
    """The configurations of one family in the order of the design, each once.

    An adaptive design has none beforehand, but for a family that has one only.
    """
    if study.design.adaptive and varying_axes(study, family):
        return []
    if study.design.kind == "grid" or study.design.adaptive:
        axes = family_axes(study, family)
        combinations = product(*(axis.levels for axis in axes))
        return [dict(zip((axis.name for axis in axes), values, strict=True)) for values in combinations]
    found = [_at_point(study, family, point) for point in points(study.design)]
    return list({tuple(configuration.items()): configuration for configuration in found}.values())


def num_configurations(study: Study, family: Family) -> int:
    """At most how many configurations a family has, without making them; of an adaptive design, once it is done."""
    if study.design.adaptive and not varying_axes(study, family):
        return 1
    if study.design.kind == "grid":
        count = 1
        for axis in family_axes(study, family):
            count *= len(axis.levels)
        return count
    return study.design.configurations or 0


def points(design: Design) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The points of a scattered design in the unit cube; a larger design begins with a smaller one's.

    Returns:
        Shape (configurations, 32). Point k has the same shared coordinates in every family.
    """
    count = design.configurations or 0
    if design.kind == "random":
        return np.random.default_rng(design.seed).random((count, _COORDINATES))
    sobol = qmc.Sobol(_COORDINATES, scramble=True, rng=np.random.default_rng(design.seed))
    return np.asarray(sobol.random_base2(max(count - 1, 0).bit_length()))[:count]


def _at_point(study: Study, family: Family, point: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Configuration:
    own = {axis.name for axis in family_axes(study, family)}
    shared = zip(study.axes.values(), point[0::2], strict=False)
    private = zip(family.axes.values(), point[1::2], strict=False)
    return {
        axis.name: axis.dimension.value(float(coordinate))
        for axis, coordinate in [*shared, *private]
        if axis.name in own
    }
