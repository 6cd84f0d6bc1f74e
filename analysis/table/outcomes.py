"""What the outcomes of anybody's table must be, and what they say of floors and tolerances."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.table import Direction, TableError, worst_finite
from analysis.table.numbers import LARGEST, Floats, require_moderate, row

SHARES = (0.005, 0.01, 0.02)
"""Tolerances of an outcome in [0, 1]; of another, as shares of the distance from the best to the floor."""


def check_outcomes(trials: pd.DataFrame, outcome: str, *, normalised: bool) -> None:
    """Raise a TableError where trials that ended well can't be analysed; rows are in the order of the file."""
    values: Floats = np.asarray(finished(trials, outcome), dtype=np.float64)
    require_moderate(values, name=outcome, place="outcome")
    if not normalised:
        return
    outside = (values < 0) | (values > 1)
    if outside.any():
        raise TableError(f"normalised: expected outcomes from 0 to 1, got {values[outside][0]:g}{row(outside)}")
    if trials["dataset"].nunique() < 2:
        raise TableError("normalised: expected --dataset with at least two data sets, got one data set")


def finished(trials: pd.DataFrame, outcome: str) -> "pd.Series[float]":
    """The outcomes of trials that ended well, NaN elsewhere."""
    return trials[outcome].where(trials["status"] == "ok")


def floors(trials: pd.DataFrame, outcome: str, direction: Direction, declared: float | None) -> dict[str, float]:
    """By data set: as declared, else the worst outcome of a trial that ended well, NaN where there is none.

    Raises:
        TableError: a failure would count as better than every trial that ended well. (Better than some is common: a
            collapsed run may score below chance.)
    """
    if declared is not None and not abs(declared) <= LARGEST:
        raise TableError(f"floor: expected a finite number from -{LARGEST:g} to {LARGEST:g}, got {declared:g}")
    groups = finished(trials, outcome).groupby(trials["dataset"], observed=True, sort=True)
    if declared is None:
        return {str(name): worst_finite(values, direction=direction) for name, values in groups}
    for name, values in groups:
        best = worst_finite(values, direction="minimize" if direction == "maximize" else "maximize")
        if declared > best if direction == "maximize" else declared < best:
            where = f" of {name}" if len(groups) > 1 else ""
            raise TableError(
                f"floor: expected a value no better than the best finished outcome {best:g}{where} "
                f"(to {direction.replace('ize', 'ise')}), got {declared:g}"
            )
    return {str(name): float(declared) for name, _ in groups}


def floor_words(found: Mapping[str, float], declared: float | None) -> str:
    """In a sentence, what a failure counts as."""
    if declared is not None:
        return f"A failure counts as {declared:g}, as declared."
    numbers = {name: "none (all failed)" if math.isnan(value) else f"{value:g}" for name, value in found.items()}
    values = ", ".join(f"{number} on {name}" if len(found) > 1 else number for name, number in numbers.items())
    return f"A failure counts as the worst finished outcome of its data set: {values}."


def tolerances_of(
    trials: pd.DataFrame, outcome: str, floors: Mapping[str, float], direction: Direction,
    declared: Sequence[float] | None,
) -> tuple[tuple[float, ...], str]:  # fmt: skip
    """Sorted, in the outcome's unit, and in a sentence where they come from."""
    if declared is not None:
        wrong = [value for value in declared if not (math.isfinite(value) and value > 0)]
        if wrong or not declared:
            raise TableError(f"tolerances: expected finite numbers above 0, got {wrong[0] if wrong else 'none'}")
        return tuple(sorted({float(value) for value in declared})), ""
    finite = trials[np.isfinite(trials[outcome])]
    if finite.empty or finite[outcome].between(0, 1).all():
        return SHARES, ""
    best = finite.groupby("dataset", observed=True)[outcome].agg("max" if direction == "maximize" else "min")
    spans = [abs(value - floors[str(name)]) for name, value in best.items()]
    span = min((span for span in spans if span > 0), default=1.0)
    found = tuple(float(f"{share * span:.3g}") for share in SHARES)
    smallest = "the smallest distance of a data set" if len(spans) > 1 else "the distance"
    return found, f"Tolerances are .5, 1 and 2 % of {smallest} from the best outcome to the floor, {span:.3g}."
