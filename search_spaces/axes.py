"""An axis of a study as it is written in the file: a number, a list of values or a range."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from search_spaces.dimensions import Choice, Continuous, Dimension, Integer, Scale, Value, choice, planned
from search_spaces.hyperparameters import PACK_AXES, Hyperparameter


class StudyError(ValueError):
    """What is wrong with a study, in one line: the place, the rule, the value."""


@dataclass(frozen=True)
class Axis:
    """One axis: its dimension, and the values that a grid takes on it."""

    name: str
    dimension: Dimension
    levels: tuple[Value, ...]

    @property
    def varies(self) -> bool:
        """Whether the axis has more than one value."""
        return len(self.levels) > 1

    def written(self) -> Any:
        """The axis as a study file would spell it, every default written out."""
        if isinstance(self.dimension, Choice):
            if not self.varies:
                return self.levels[0]
            scale = {} if self.dimension.scale is None else {"scale": self.dimension.scale}
            return {"values": list(self.levels), **scale}
        low, high, scale_name = self.dimension.low, self.dimension.high, self.dimension.scale
        return {"low": low, "high": high, "scale": scale_name, "levels": len(self.levels)}


def suggestion(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """`; did you mean 'dhel'?`, or the list of what there is."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; there is {', '.join(sorted(known))}"


def default_axis(name: str, hyperparameter: Hyperparameter) -> Axis:
    """The axis of a default space."""
    return Axis(name, hyperparameter.dimension, hyperparameter.dimension.levels(hyperparameter.levels))


def fixed_axis(name: str, hyperparameter: Hyperparameter) -> Axis:
    """An axis that a study does not name: its default, alone."""
    return Axis(name, choice([hyperparameter.default], None), (hyperparameter.default,))


def parse_axis(place: str, name: str, raw: Any, hyperparameter: Hyperparameter) -> Axis:
    """Read one axis: `0.2`, `{values: [...], scale}` or `{low, high, scale, levels}`; of categories one or several."""
    dimension = hyperparameter.dimension
    if isinstance(dimension, Choice) and dimension.scale is None:
        return _category_axis(place, name, raw, dimension)
    if isinstance(raw, dict) and "values" in raw:
        axis = _values_axis(place, name, raw, hyperparameter)
    elif isinstance(raw, dict):
        axis = _range_axis(place, name, raw, hyperparameter)
    else:
        axis = Axis(name, choice([_number(place, raw)], None), (_number(place, raw),))
    check_levels(place, axis, hyperparameter)
    return axis


def check_levels(place: str, axis: Axis, hyperparameter: Hyperparameter) -> None:
    """Refuse an axis with a value that the hyperparameter must not take; of a range, both ends are levels."""
    for level in axis.levels if axis.dimension.scale is not None else ():
        _check_value(place, level, hyperparameter, whole=axis.name in PACK_AXES)


def _category_axis(place: str, name: str, raw: Any, known: Choice) -> Axis:
    if isinstance(raw, dict):
        _check_keys(place, raw, required=("values",), optional=())
    place, values = (f"{place}.values", raw["values"]) if isinstance(raw, dict) else (place, [raw])
    names = [str(value) for value in known.values]
    if not isinstance(values, list) or not values:
        raise StudyError(f"{place}: expected a list with at least one value, got {values!r}")
    for value in values:
        if not isinstance(value, str):
            raise StudyError(f"{place}: expected one of {', '.join(names)}, got {value!r}")
        if value not in names:
            raise StudyError(f"{place}: no {name} of this name: {value!r}{suggestion(value, names)}")
    if len(set(values)) < len(values):
        raise StudyError(f"{place}: expected different values, got {values!r}")
    return Axis(name, choice(values, None), tuple(values))


def _values_axis(place: str, name: str, raw: dict[str, Any], hyperparameter: Hyperparameter) -> Axis:
    _check_keys(place, raw, required=("values",), optional=("scale",))
    values = raw["values"]
    if not isinstance(values, list) or not values:
        raise StudyError(f"{place}.values: expected a list with at least one value, got {values!r}")
    numbers = [_number(f"{place}.values[{k}]", value) for k, value in enumerate(values)]
    if len(set(numbers)) < len(numbers):
        raise StudyError(f"{place}.values: expected different values, got {values!r}")
    scale = _scale(place, raw, hyperparameter, lowest=min(numbers))
    if scale != "linear" and min(numbers) <= 0:
        raise StudyError(f"{place}: a {scale} scale needs values above 0, got {min(numbers)!r}")
    dimension = choice(sorted(numbers), scale)
    return Axis(name, dimension, dimension.values)


def _range_axis(place: str, name: str, raw: dict[str, Any], hyperparameter: Hyperparameter) -> Axis:
    _check_keys(place, raw, required=("low", "high"), optional=("scale", "levels"))
    if name in PACK_AXES:
        raise StudyError(f"{place}: {name} is the same for a whole pack and needs 'values', got a range")
    low, high = _number(f"{place}.low", raw["low"]), _number(f"{place}.high", raw["high"])
    levels = raw.get("levels", hyperparameter.levels)
    if isinstance(levels, bool) or not isinstance(levels, int) or levels < 2:
        raise StudyError(f"{place}.levels: expected a whole number of at least 2, got {levels!r}")
    if levels > 100_000:
        raise StudyError(f"{place}.levels: expected at most 100,000 levels, got {levels!r}")
    if not low < high:
        raise StudyError(f"{place}: expected low < high, got low={low!r}, high={high!r}")
    _check_value(f"{place}.low", low, hyperparameter, whole=False)
    scale = _scale(place, raw, hyperparameter, lowest=low)
    if scale != "linear" and low <= 0:
        raise StudyError(f"{place}: a {scale} scale needs low above 0, got low={low!r}")
    whole = isinstance(hyperparameter.dimension, Integer)
    dimension = Integer(int(low), int(high), scale) if whole else Continuous(float(low), float(high), scale)
    return Axis(name, dimension, dimension.levels(levels))


def _scale(place: str, raw: dict[str, Any], hyperparameter: Hyperparameter, *, lowest: float) -> Scale:
    usual = hyperparameter.dimension.scale or "linear"
    scale = raw.get("scale", usual if lowest > 0 else "linear")
    if scale not in get_args(Scale):
        raise StudyError(f"{place}.scale: expected linear, log or log2, got {scale!r}")
    return scale  # type: ignore[no-any-return]


def _number(place: str, value: Any) -> int | float:
    if isinstance(value, int) and abs(value) >= 2**63:
        raise StudyError(f"{place}: expected a number below 2**63, got one of {len(str(abs(value)))} digits")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise StudyError(f"{place}: expected a finite number, got {value!r}")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return planned(value) if isinstance(value, float) else value


def _check_value(place: str, value: Value, hyperparameter: Hyperparameter, *, whole: bool) -> None:
    assert not isinstance(value, str)
    if whole and not isinstance(value, int):
        raise StudyError(f"{place}: expected whole numbers, got {value!r}")
    rule = hyperparameter.broken_rule(value)
    if rule is not None:
        raise StudyError(f"{place}: {rule}, got {value!r}")


def _check_keys(place: str, raw: dict[str, Any], *, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    for key in raw:
        if key not in required + optional:
            raise StudyError(f"{place}.{key}: no such key{suggestion(str(key), list(required + optional))}")
    for key in required:
        if key not in raw:
            raise StudyError(f"{place}: expected {' and '.join(required)}, or values; '{key}' is missing")
