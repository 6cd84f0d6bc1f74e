"""A stored study and its trials, with families of packages that need not be installed here."""

import json
import math

import pandas as pd

from robustness import store
from robustness.store import Folder
from search_spaces import Continuous, Hyperparameter, Integer, Space, Study, StudyError, parse_study
from search_spaces.families import SPACES, UNTRAINED, find_space


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
