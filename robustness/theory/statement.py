"""A statement of a paper as a program: what it says, and what was measured."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

Number = float | Tensor


@dataclass(frozen=True)
class Measurement:
    """One number that decides whether a statement holds.

    Args:
        quantity: what was measured, in words.
        measured: the number.
        low, high: between which it has to lie; infinite where there is no bound.
        expected: the number that the statement names, where it names one.
    """

    quantity: str
    measured: float
    low: float
    high: float
    expected: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the number lies where the statement puts it; NaN does not."""
        return self.low <= self.measured <= self.high


@dataclass(frozen=True)
class Statement:
    """A statement of a paper, or a sharper one of ours.

    Args:
        claim: what is said, in one or two sentences.
        source: authors, venue, where it stands.
        check: measures it; float64, seeded: the same numbers each time on one machine.
    """

    claim: str
    source: str
    check: Callable[[], Sequence[Measurement]]


def equal(quantity: str, measured: Number, expected: Number, *, within: float) -> Measurement:
    """A number that should be another one, up to an absolute tolerance."""
    expected = _number(expected)
    return Measurement(quantity, _number(measured), expected - within, expected + within, expected)


def above(quantity: str, measured: Number, bound: float) -> Measurement:
    """A number that should be greater than a bound."""
    return Measurement(quantity, _number(measured), math.nextafter(bound, math.inf), math.inf)


def below(quantity: str, measured: Number, bound: float) -> Measurement:
    """A number that should be less than a bound."""
    return Measurement(quantity, _number(measured), -math.inf, math.nextafter(bound, -math.inf))


def between(quantity: str, measured: Number, low: float, high: float) -> Measurement:
    """A number that should lie between two bounds, which it may reach."""
    return Measurement(quantity, _number(measured), low, high)


def _number(value: Number) -> float:
    return value.detach().item() if isinstance(value, Tensor) else float(value)
