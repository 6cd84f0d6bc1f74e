"""A value <-> a point of [0, 1], on a linear or logarithmic scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Scale = Literal["linear", "log", "log2"]
Value = int | float | str


def planned(value: float) -> float:
    """A planned float, rounded to 12 significant digits so that it prints and hashes the same everywhere."""
    return float(f"{value:.12g}")


def transform(value: float, scale: Scale) -> float:
    """A value on its own scale: itself, its natural logarithm or its base-2 logarithm."""
    if scale == "linear":
        return value
    return math.log2(value) if scale == "log2" else math.log(value)


def _inverse(transformed: float, scale: Scale) -> float:
    if scale == "linear":
        return transformed
    return math.pow(2.0, transformed) if scale == "log2" else math.exp(transformed)


@dataclass(frozen=True)
class Continuous:
    """All numbers from `low` to `high`, uniform on `scale`."""

    low: float
    high: float
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.scale)

    def value(self, point: float) -> float:
        """The value at `point` of [0, 1]."""
        low, high = transform(self.low, self.scale), transform(self.high, self.scale)
        inside = _inverse(low + point * (high - low), self.scale)
        return planned(min(max(inside, self.low), self.high))

    def point(self, value: float) -> float:
        """Where `value` lies in [0, 1]: the inverse of `value`."""
        low, high = transform(self.low, self.scale), transform(self.high, self.scale)
        return (transform(value, self.scale) - low) / (high - low)

    def levels(self, count: int) -> tuple[float, ...]:
        """`count` values, evenly spaced on the scale, both ends included."""
        return tuple(self.value(k / (count - 1)) for k in range(count))


@dataclass(frozen=True)
class Integer:
    """All whole numbers from `low` to `high`, uniform on `scale` before rounding."""

    low: int
    high: int
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.scale)

    def value(self, point: float) -> int:
        """The whole number at `point` of [0, 1]."""
        return round(Continuous(self.low, self.high, self.scale).value(point))

    def point(self, value: float) -> float:
        """Where `value` lies in [0, 1]."""
        return Continuous(self.low, self.high, self.scale).point(value)

    def levels(self, count: int) -> tuple[int, ...]:
        """At most `count` different whole numbers, evenly spaced on the scale, both ends included."""
        return tuple(dict.fromkeys(self.value(k / (count - 1)) for k in range(count)))


@dataclass(frozen=True)
class Choice:
    """A list of values, equally likely; `scale` says how to draw them on an axis, None for categories."""

    values: tuple[Value, ...]
    scale: Scale | None = None

    def value(self, point: float) -> Value:
        """The value whose equal share of [0, 1] holds `point`."""
        return self.values[min(int(point * len(self.values)), len(self.values) - 1)]

    def point(self, value: Value) -> float:
        """The middle of the share of `value`."""
        return (self.values.index(value) + 0.5) / len(self.values)

    def levels(self, count: int | None = None) -> tuple[Value, ...]:
        """All values, whatever `count` says: a list is its own grid."""
        return self.values


Dimension = Continuous | Integer | Choice


def choice(values: Sequence[Value], scale: Scale | None) -> Choice:
    """A Choice whose numbers are planned numbers; a number without a scale lies on a linear one."""
    cleaned = tuple(planned(value) if isinstance(value, float) else value for value in values)
    numeric = not any(isinstance(value, str) for value in cleaned)
    return Choice(cleaned, scale if scale is not None else ("linear" if numeric else None))


def _check_range(low: float, high: float, scale: Scale) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"expected finite low < high, got low={low}, high={high}")
    if scale != "linear" and low <= 0:
        raise ValueError(f"a {scale} scale needs 0 < low, got low={low}, high={high}")
