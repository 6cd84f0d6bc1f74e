"""Families of installed packages: entry points of the groups `robustness.spaces` and `robustness.losses`.

A family is one name in both groups: a `Space` in a module that imports no torch, and the loss's function.
Nothing is imported before a study names the family, so a broken package disturbs no other study.
"""

import math
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from keyword import iskeyword
from typing import Any, get_args

from search_spaces.axes import StudyError
from search_spaces.dimensions import Choice, Dimension
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES, Hyperparameter, Space

SPACE_GROUP, LOSS_GROUP = "robustness.spaces", "robustness.losses"

_SUPPLIED = ("num_images",)
"""What training can give to a loss besides its hyperparameters."""

_TAKEN = {*PACK_AXES, *TRAINING_AXES, *_SUPPLIED, "loss", "self", "tile", "u", "v"}
"""Names that mean something else in a study file or in a loss's signature."""


@cache
def announced(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """The entry points of a group by their names, and whether or not they work."""
    found = entry_points(group=group)
    return {name: tuple(found.select(name=name)) for name in sorted(found.names)}


def load(group: str, name: str) -> Any:
    """Import what a package offers under a name.

    Raises:
        StudyError: no package or several have this name, or the import fails; one line that names them.
    """
    points = announced(group).get(name, ())
    if not points:
        (other,) = {SPACE_GROUP, LOSS_GROUP} - {group}
        half = describe(other, name)
        raise StudyError(f"{half}: there is no entry point '{name}' of {group}, and a family needs both")
    if len(points) > 1:
        raise StudyError(f"{describe(group, name)}: several packages have this name; remove all but one")
    try:
        return points[0].load()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise StudyError(f"{describe(group, name)}: can't import {points[0].value}: {reason}") from None


def describe(group: str, name: str) -> str:
    """`package cauchy-loss, entry point 'cauchy' of robustness.spaces`, as it begins a message."""
    owners = sorted({str(point.dist.name) for point in announced(group).get(name, ()) if point.dist is not None})
    return f"package {' and '.join(owners)}, entry point '{name}' of {group}"


def installed_space(name: str, *, taken: Collection[str]) -> Space:
    """The default space that a package has for its family.

    Args:
        name: of the family, in one of the two groups.
        taken: names that no package may use.

    Raises:
        StudyError: one line that names the package, its entry point and the rule that it breaks.
    """
    group = SPACE_GROUP if name in announced(SPACE_GROUP) else LOSS_GROUP
    if name in taken:
        raise StudyError(f"{describe(group, name)}: '{name}' has another meaning here; choose another name")
    if name not in announced(LOSS_GROUP):
        load(LOSS_GROUP, name)
    space = load(SPACE_GROUP, name)
    rule = _broken_rule(space)
    if rule is not None:
        raise StudyError(f"{describe(group, name)}: {rule}")
    assert isinstance(space, Space)
    return space


def _broken_rule(space: Any) -> str | None:
    if not isinstance(space, Space) or not isinstance(space.hyperparameters, Mapping):
        return f"expected a search_spaces.Space with a mapping of hyperparameters, got {space!r}"[:300]
    if not set(space.bound) <= set(_SUPPLIED):
        return f"expected at most {', '.join(_SUPPLIED)} in bound, got {', '.join(space.bound)}"
    broken = (_broken_hyperparameter(name, axis) for name, axis in space.hyperparameters.items())
    return next((rule for rule in broken if rule is not None), None)


def _broken_hyperparameter(name: Any, axis: Any) -> str | None:
    place = f"hyperparameter {name!r}"
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name) or name.startswith("_"):
        return f"{place}: expected the name of an argument, without a leading underscore"
    if name in _TAKEN:
        return f"{place}: this name has another meaning here; choose another"
    if not isinstance(axis, Hyperparameter) or not isinstance(axis.dimension, get_args(Dimension)):
        return f"{place}: expected a search_spaces.Hyperparameter with a dimension, got {axis!r}"[:300]
    if not isinstance(axis.dimension, Choice) and not (isinstance(axis.levels, int) and axis.levels >= 2):
        return f"{place}: levels: expected a whole number of at least 2, got {axis.levels!r}"
    for value in (axis.default, *axis.dimension.levels(axis.levels)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"{place}: expected finite numbers, got {value!r}"
        if (rule := axis.broken_rule(value)) is not None:
            return f"{place}: {rule}, got {value!r}"
    return None
