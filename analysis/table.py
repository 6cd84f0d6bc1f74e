"""One tidy table of results: a row a trial, and what its columns mean."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from analysis.stored import read_study, with_extra_columns
from robustness import store
from search_spaces import Axis as StudyAxis
from search_spaces import Family, Hyperparameter, Study
from search_spaces.datasets import DATASETS, Dataset, dataset_of
from search_spaces.dimensions import Choice, Scale
from search_spaces.families import UNTRAINED
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES
from search_spaces.sections import LOWER_IS_BETTER

Direction = Literal["maximize", "minimize"]

VALIDATION = "linear_top1_validation"
"""The column on which settings are chosen for every accuracy, so that nothing is chosen on test images."""


@dataclass(frozen=True)
class Axis:
    """A varying axis of one family.

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


@dataclass(frozen=True)
class Table:
    """Every trial of a study, and what the analysis needs to know about its columns.

    Args:
        name: the study.
        trials: a row a trial of every other family, as stored: failures have null outcomes.
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
    design: Literal["grid", "sobol", "random", "tpe", "gp"]
    num_planned: int
    floors: Mapping[str, float] = field(default_factory=dict)

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


def from_store(folder: store.Folder) -> Table:
    """Read the folder that a sweep left behind.

    A trial that is planned but not stored is simply missing; `num_planned` tells how many there should be.

    Raises:
        StoreError: there is no study in this folder, it is damaged, or no trial has finished.
    """
    planned = store.read_plan(folder)
    study, rows = read_study(folder, planned), with_extra_columns(store.read(folder))
    if rows.empty:
        raise store.StoreError(f"{folder}: no finished trials to analyse yet")
    untrained = rows["loss"] == UNTRAINED
    trials = rows[~untrained].reset_index(drop=True)
    wish = study.analysis
    outcome, tolerances = wish.outcome, tuple(sorted(wish.tolerances))
    if outcome not in store.NUMERIC_OUTCOMES:
        raise store.StoreError(f"{folder}: analysis.outcome: no numeric outcome column '{outcome}'")
    known = datasets_of(planned)
    floors = {name: _floor(study, rows[rows["dataset"] == name], known.get(name)) for name in study.data.datasets}
    return Table(
        name=study.name,
        trials=trials,
        baseline=rows[untrained].reset_index(drop=True),
        axes={label: _axes(study, family) for label, family in study.families.items() if family.loss != UNTRAINED},
        shared=tuple(study.axes),
        outcome=outcome,
        selection=VALIDATION if outcome.endswith("_top1") else outcome,
        direction=wish.direction,
        floor=floors[study.data.datasets[0]],
        reference=wish.reference,
        tolerances=tolerances,
        equivalence=tolerances[len(tolerances) // 2] if wish.equivalence is None else wish.equivalence,
        design=study.design.kind,
        num_planned=len(planned),
        floors=floors,
    )


def datasets_of(planned: pd.DataFrame) -> dict[str, Dataset]:
    """What planned trials tell of their data sets, files included, which need not be there any more.

    Args:
        planned: a plan, with the columns dataset and trial.

    Returns:
        By name; a data set that this version doesn't know is left out.
    """
    first = planned.drop_duplicates("dataset").set_index("dataset")["trial"].astype("string")
    files = first[first.str.contains('"content":', regex=False, na=False)]
    told = {str(name): dataset_of(json.loads(text)["data"]) for name, text in files.items()}
    return {name: told.get(name) or DATASETS[name] for name in first.index if name in told or name in DATASETS}


def _floor(study: Study, rows: pd.DataFrame, dataset: Dataset | None) -> float:
    """Declared, else chance for accuracies of known data sets, else the worst value, untrained included."""
    if study.analysis.floor is not None:
        return study.analysis.floor
    if study.analysis.outcome.endswith("_top1") and dataset is not None:
        return 1.0 / dataset.num_classes
    return worst_finite(rows[study.analysis.outcome], direction=study.analysis.direction)


def _axes(study: Study, family: Family) -> tuple[Axis, ...]:
    applicable = {**PACK_AXES, **TRAINING_AXES, **family.space.hyperparameters}
    shared = [axis for name, axis in study.axes.items() if name in applicable]
    varying = [axis for axis in [*shared, *family.axes.values()] if axis.varies]
    return tuple(_axis(axis, study.design.kind, _default(applicable[axis.name])) for axis in varying)


def _axis(axis: StudyAxis, design: str, default: float | None) -> Axis:
    dimension = axis.dimension
    if isinstance(dimension, Choice):
        numbers = [float(value) for value in dimension.values if not isinstance(value, str)]
        low, high = (min(numbers), max(numbers)) if numbers else (math.nan, math.nan)
        return Axis(axis.name, dimension.scale, dimension.values, low, high, default)
    levels = axis.levels if design == "grid" else ()
    return Axis(axis.name, dimension.scale, levels, float(dimension.low), float(dimension.high), default)


def _default(hyperparameter: Hyperparameter) -> float | None:
    default = hyperparameter.default
    return None if isinstance(default, str) or math.isnan(default) else float(default)
