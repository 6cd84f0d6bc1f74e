"""Which encoders a study keeps once it is done."""

import pandas as pd

from robustness.store import Folder, read, read_plan, remove_encoder
from robustness.trial import Trial, canonical_json
from search_spaces.study import Study


def prune(study: Study, folder: Folder) -> None:
    """Remove what `evaluation.keep: best` doesn't keep: encoders of all but each family's best configuration.

    Nothing is removed under another `keep`, or while planned trials are not stored yet. What was removed doesn't
    come back: where a study that is extended finds another best configuration, only its new seeds have encoders.

    Args:
        study: its analysis names the outcome and the direction.
        folder: what a sweep left behind.
    """
    if study.evaluation.keep != "best":
        return
    planned, outcome = read_plan(folder), study.analysis.outcome
    stored = read(folder, ["trial_id", "dataset", "family", outcome])
    rows = planned[["trial_id", "trial"]].merge(stored, on="trial_id")
    if len(rows) < len(planned):
        return
    best = best_trials(rows, outcome=outcome, maximize=study.analysis.direction == "maximize")
    for trial_id in sorted({*rows["trial_id"]} - best):
        remove_encoder(folder, trial_id)


def best_trials(rows: pd.DataFrame, *, outcome: str, maximize: bool) -> set[str]:
    """The ids of all seeds of each family's best configuration on each data set.

    The best has the best mean of the outcome over its seeds. One with a seed that failed counts as worse than any
    with fewer such seeds, whatever its mean. Of equals, the one that was planned first.

    Args:
        rows: finished trials with their planned `trial`.
    """
    rows = rows.assign(configuration=rows["trial"].map(_configuration), failed=rows[outcome].isna())
    groups = rows.groupby(["dataset", "family", "configuration"], sort=False)
    found = groups.agg(failed=("failed", "sum"), mean=(outcome, "mean")).reset_index()
    ordered = found.sort_values(["failed", "mean"], ascending=[True, not maximize], kind="stable")
    best = ordered.drop_duplicates(["dataset", "family"])
    return set(rows.merge(best[["dataset", "family", "configuration"]])["trial_id"])


def _configuration(text: str) -> str:
    """All that decides a trial but its seed."""
    trial = Trial.from_json(text)
    fields = (trial.data, trial.model, trial.training, trial.evaluation, trial.loss, trial.hyperparameters)
    return canonical_json(list(fields))
