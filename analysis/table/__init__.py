"""One tidy table of results: a row a trial, and what its columns mean."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from search_spaces.dimensions import Scale
from search_spaces.sections import LOWER_IS_BETTER

Direction = Literal["maximize", "minimize"]
Design = Literal["grid", "sobol", "random", "tpe", "gp"]

OUTCOME_MISSING, OUTCOME_INFINITE = "outcome missing", "outcome infinite"
"""Statuses of trials that ended well by their own account, and yet count as failures."""

VALIDATION = "linear_top1_validation"
"""The column on which settings are chosen for every accuracy, so that nothing is chosen on test images."""


class TableError(ValueError):
    """A table breaks a rule: one line with the place, the rule and the value."""


@dataclass(frozen=True)
class Axis:
    """An axis of one family. For instance a temperature of five levels, and a learning rate drawn at random:

        Axis("temperature", "log", (0.1, 0.2, 0.4, 0.8, 1.6), 0.1, 1.6)
        Axis("learning_rate", "log", (), 1e-4, 1e-1)

    Args:
        name: its column.
        scale: on which it is uniform; None for categories.
        levels: the values of a grid or of a list; empty for a continuous axis of a scattered design.
        low, high: ends of the declared range; NaN for categories.
        default: the value where a study does not name the axis; None where none is known.
    """

    name: str
    scale: Scale | None
    levels: tuple[float | int | str, ...]
    low: float
    high: float
    default: float | None = None

    @property
    def varies(self) -> bool:
        """Whether it has more than one value; an axis with one level says nothing about sensitivity."""
        return len(self.levels) > 1 if self.scale is None else self.low < self.high


@dataclass(frozen=True)
class Table:
    """Every trial of a study, and what the analysis needs to know about its columns.

    `store.from_store` reads one from a sweep, `tidy.from_file` and `tidy.from_frame` from any other table.

    Args:
        name: the study.
        trials: a row a trial of every other family: dataset, family, seed, status (`ok`, `stopped`, or why it
            failed), the axes and the outcome; failures have null outcomes.
        baseline: the rows of families whose loss is `untrained`, whatever their labels.
        axes: family -> its varying axes, shared ones first.
        shared: names of the axes that all families share.
        outcome: the column that is analysed.
        selection: the column on which maxima are chosen; None means the outcome.
        direction: whether a larger outcome is better.
        floor: the outcome of a failed trial.
        reference: the family that others are compared with.
        tolerances: how far below the best still counts as good, in the outcome's unit.
        equivalence: the margin of a comparison.
        design: how configurations were chosen.
        num_planned: trials in the plan, stored or not.
        floors: data sets whose floor is another than `floor`.
        normalised: whether the outcome is a performance scaled to each data set already, G of `phi`.
        notes: what reading the table decided, in sentences for the methods.
    """

    name: str
    trials: pd.DataFrame
    baseline: pd.DataFrame
    axes: Mapping[str, tuple[Axis, ...]]
    shared: tuple[str, ...]
    outcome: str
    selection: str | None
    direction: Direction
    floor: float
    reference: str | None
    tolerances: tuple[float, ...]
    equivalence: float
    design: Design
    num_planned: int
    floors: Mapping[str, float] = field(default_factory=dict)
    normalised: bool = False
    notes: tuple[str, ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets with at least one trial, sorted."""
        return tuple(sorted(self.trials["dataset"].unique()))

    def direction_of(self, outcome: str) -> Direction:
        """The declared direction of the study's outcome; for other columns, the one of its definition."""
        if outcome == self.outcome:
            return self.direction
        return "minimize" if outcome.removeprefix("h_").removeprefix("z_") in LOWER_IS_BETTER else "maximize"

    def floor_of(self, dataset: str, outcome: str) -> float:
        """What a failed trial counts as: the declared or chance floor, else the worst finite value there is.

        The floor of one accuracy is that of all accuracies: chance does not depend on the probe.
        """
        if outcome == self.outcome or (outcome.endswith("_top1") and self.outcome.endswith("_top1")):
            return self.floors.get(dataset, self.floor)
        if outcome == VALIDATION and self.outcome.endswith("_top1"):
            return self.floors.get(dataset, self.floor)
        # The baseline too: a failed trial must not count as better than no training.
        frames = [frame for frame in (self.trials, self.baseline) if outcome in frame]
        rows = pd.concat([frame.loc[frame["dataset"] == dataset, outcome].dropna() for frame in frames])
        return worst_finite(rows, direction=self.direction_of(outcome))

    def selection_of(self, dataset: str, outcome: str) -> str:
        """The column on which maxima of an outcome are chosen: one of validation images for every accuracy.

        The outcome itself where the column is empty for all families of the data set; never for one family.
        """
        wanted = self.selection if outcome == self.outcome else None
        if wanted is None:
            wanted = VALIDATION if outcome.endswith("_top1") else outcome
        if wanted not in self.trials:
            return outcome
        return wanted if self.trials.loc[self.trials["dataset"] == dataset, wanted].notna().any() else outcome


def worst_finite(values: "pd.Series[float]", *, direction: Direction) -> float:
    """The worst finite value: the smallest where more is better; NaN where there is none."""
    numbers = values.to_numpy(dtype=float, na_value=math.nan)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return math.nan
    return float(finite.min() if direction == "maximize" else finite.max())
