"""What the runs of a study have in common: which hyperparameters vary, and which metrics there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.table.store import read_study
from robustness import store
from robustness.logs.runs import AXES, IDENTITY
from robustness.store import NUMERIC_OUTCOMES, Folder


@dataclass(frozen=True)
class Experiment:
    """The runs of a study, as a tool shows them side by side.

    Args:
        study: its name.
        hyperparameters: name -> whether its values differ and say what the others don't; so loss and seed count as
            equal, which follow from the family and tell of repetitions.
        metrics: names of outcomes: first the one that the study analyses, last those that nothing has by now.
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
    differ = {"family": len(study.families) > 1, "dataset": len(study.data.datasets) > 1}
    for axis in [*study.axes.values(), *(axis for family in study.families.values() for axis in family.axes.values())]:
        differ[axis.name] = differ.get(axis.name, False) or axis.varies
    measured = store.read(folder, NUMERIC_OUTCOMES).notna().any()
    outcome = study.analysis.outcome
    return Experiment(
        study=study.name,
        hyperparameters={name: differ.get(name, False) for name in dict.fromkeys([*IDENTITY, *AXES, *differ])},
        metrics=sorted(NUMERIC_OUTCOMES, key=lambda name: (name != outcome, not measured[name])),
    )
