"""The table of stored studies: their trials, with families of packages that need not be installed here."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.table import VALIDATION, Axis, Table, worst_finite
from robustness import store
from robustness.store import Folder
from search_spaces import Axis as StudyAxis
from search_spaces import Continuous, Family, Hyperparameter, Integer, Space, Study, StudyError, parse_study
from search_spaces.datasets import Dataset, chance, dataset_of, known_dataset
from search_spaces.dimensions import Choice
from search_spaces.families import SPACES, UNTRAINED, find_space
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES


@dataclass(frozen=True)
class Stored:
    """What a sweep left behind.

    Args:
        study: as it ran.
        planned: its plan, a row a trial.
        rows: its stored trials.
    """

    folder: Folder
    study: Study
    planned: pd.DataFrame
    rows: pd.DataFrame


def read_stored(folder: Folder) -> Stored:
    """Read the folder that a sweep left behind.

    Raises:
        StoreError: there is no study in this folder, it is damaged, or no trial has finished.
    """
    planned = store.read_plan(folder)
    study, rows = read_study(folder, planned), with_extra_columns(store.read(folder))
    if rows.empty:
        raise store.StoreError(f"{folder}: no finished trials to analyse yet")
    if study.analysis.outcome not in store.NUMERIC_OUTCOMES:
        raise store.StoreError(f"{folder}: analysis.outcome: no numeric outcome column '{study.analysis.outcome}'")
    return Stored(folder, study, planned, rows)


def from_store(folder: Folder) -> Table:
    """The table of one study: see `table_of`. Raises what `read_stored` raises."""
    return table_of([read_stored(folder)])


def table_of(members: Sequence[Stored]) -> Table:
    """The trials of studies as one table; `analysis.table.pooling` says which belong together.

    A trial that is planned but not stored is simply missing; `num_planned` tells how many there should be. One
    that several studies have counts once, as the first of them has it. What is analysed (outcome, tolerances) and
    the order of axes are those of the first study, the reference that of the first that names one.
    """
    study = members[0].study
    rows = _once([member.rows for member in members])
    planned = _once([member.planned for member in members])
    families: dict[str, tuple[Study, Family]] = {}
    for member in members:
        for label, family in member.study.families.items():
            families.setdefault(label, (member.study, family))
    untrained = rows["loss"] == UNTRAINED
    wish = study.analysis
    tolerances = tuple(sorted(wish.tolerances))
    known = datasets_of(planned)
    datasets = dict.fromkeys(name for member in members for name in member.study.data.datasets)
    floors = {name: _floor(study, rows[rows["dataset"] == name], known.get(name)) for name in datasets}
    return Table(
        name=" + ".join(dict.fromkeys(member.study.name for member in members)),
        trials=rows[~untrained].reset_index(drop=True),
        baseline=rows[untrained].reset_index(drop=True),
        axes={label: _axes(*found) for label, found in families.items() if found[1].loss != UNTRAINED},
        shared=tuple(study.axes),
        outcome=wish.outcome,
        selection=VALIDATION if wish.outcome.endswith("_top1") else wish.outcome,
        direction=wish.direction,
        floor=floors[study.data.datasets[0]],
        reference=next((name for member in members if (name := member.study.analysis.reference)), None),
        tolerances=tolerances,
        equivalence=tolerances[len(tolerances) // 2] if wish.equivalence is None else wish.equivalence,
        design=study.design.kind,
        num_planned=len(planned),
        floors=floors,
    )


def _once(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all, those of a trial that is there already left out."""
    if len(frames) == 1:
        return frames[0]
    return pd.concat(frames, ignore_index=True).drop_duplicates("trial_id", ignore_index=True)


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
    found = {name: told.get(name) or known_dataset(name) for name in first.index}
    return {name: dataset for name, dataset in found.items() if dataset is not None}


def _floor(study: Study, rows: pd.DataFrame, dataset: Dataset | None) -> float:
    """Declared, else chance for accuracies of known data sets, else the worst value, untrained included."""
    if study.analysis.floor is not None:
        return study.analysis.floor
    if study.analysis.outcome.endswith("_top1") and dataset is not None:
        return chance(study.analysis.outcome, dataset)
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


def with_extra_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a plan or of trials with a column for each hyperparameter that no built-in loss has."""
    texts = rows["extra_hyperparameters"].dropna()
    if texts.empty:
        return rows
    return rows.join(pd.DataFrame([json.loads(text) for text in texts], index=texts.index).astype(float))


def read_study(folder: Folder, planned: pd.DataFrame) -> Study:
    """The study as it ran; a family whose package is not installed here has the space that its plan tells.

    Args:
        folder: what a sweep left behind.
        planned: its plan.

    Raises:
        StoreError: there is no study in this folder, or it is damaged.
        StudyError: it breaks a rule of the study file.
    """
    raw = store.read_study(folder)
    families = raw.get("families")
    specs = families.values() if isinstance(families, dict) else ()
    order = [name for spec in specs if isinstance(spec, dict) for name in spec]
    foreign = sorted(set(planned["loss"]) - {*SPACES, UNTRAINED})
    spaces = {loss: _space(loss, planned[planned["loss"] == loss], order) for loss in foreign}
    return parse_study(raw, str(folder / "study.yaml"), spaces)


def _space(loss: str, planned: pd.DataFrame, order: list[str]) -> Space:
    try:
        return find_space(loss)
    except StudyError:
        return _planned_space(planned, order)


def _planned_space(planned: pd.DataFrame, order: list[str]) -> Space:
    """A space as far as a plan tells it: names, and whether they are whole numbers; no bounds and no defaults.

    Names are in the order of the study file, on which the order of axes depends.
    """
    values = with_extra_columns(planned)
    known = {*store.PLAN_SCHEMA.names} - {*store.HYPERPARAMETER_COLUMNS}
    names = [str(name) for name in values if name not in known and values[name].notna().any()]
    names.sort(key=lambda name: order.index(name) if name in order else -1)
    return Space("of a package that is not installed", {name: _hyperparameter(values[name]) for name in names})


def _hyperparameter(values: "pd.Series[float]") -> Hyperparameter:
    whole = bool((values.dropna() % 1 == 0).all())
    return Hyperparameter(Integer(0, 1) if whole else Continuous(0, 1), math.nan, reason="planned", source="the plan")
