"""What the runs of a study have in common: which hyperparameters there are, and which metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.table.store import read_study
from robustness import store
from robustness.logs.runs import AXES, IDENTITY
from robustness.store import NUMERIC_OUTCOMES, Folder
from search_spaces import Study
from search_spaces.families import UNTRAINED
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES

_SHOWN = 5
_FILLING = ("seed", "loss", "dataset", "learning_rate", "projector_dim")


@dataclass(frozen=True)
class Experiment:
    """The runs of a study, as a tool shows them side by side.

    Args:
        study: its name.
        hyperparameters: name -> whether it is shown at first.
        metrics: names of outcomes that were measured by now, after the one that the study analyses.
    """

    study: str
    hyperparameters: Mapping[str, bool]
    metrics: Sequence[str]


def experiment_of(folder: Folder) -> Experiment:
    """The experiment of stored results.

    Raises:
        StoreError: there is no study in the folder, or it is damaged.
    """
    study = read_study(folder, store.read_plan(folder))
    own = [name for family in study.families.values() for name in family.axes]
    shown = _shown_first(study)
    measured = store.read(folder, NUMERIC_OUTCOMES).notna().any()
    return Experiment(
        study=study.name,
        hyperparameters={name: name in shown for name in dict.fromkeys([*IDENTITY, *AXES, *study.axes, *own])},
        metrics=list(dict.fromkeys([study.analysis.outcome, *measured.index[measured]])),
    )


def _shown_first(study: Study) -> set[str]:
    """What varies and every trained trial has, with others that each has up to the five that TensorBoard shows.

    Its parallel coordinates leave out every run that lacks a column that is shown: with the axes of two losses, all.
    """
    trained = [family for family in study.families.values() if family.loss != UNTRAINED]
    axes = [*study.axes.values(), *(axis for family in trained for axis in family.axes.values())]
    shown = {axis.name for axis in axes if axis.varies}
    for family in trained:
        shown &= {*PACK_AXES, *TRAINING_AXES, *family.hyperparameters}
    shown |= {"family"} if len(study.families) > 1 else set()
    shown |= {"dataset"} if len(study.data.datasets) > 1 else set()
    others = [name for name in _FILLING if name not in shown]
    return {*shown, *others[: max(_SHOWN - len(shown), 0)]}
