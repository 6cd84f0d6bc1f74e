"""What came of a configuration, as a sampler is told it: one finite number."""

import math
from collections.abc import Iterable, Mapping
from statistics import fmean

from robustness.plan import TrialData
from robustness.store import Folder, read, read_history
from search_spaces.datasets import chance, dataset_of
from search_spaces.study import Study

Ended = tuple[str, float | None]
"""The status of a trial and its outcome; of one that was stopped, the last that was measured."""


def mean_outcome(trials: Iterable[Ended]) -> float | None:
    """The mean over the trials of a configuration: its seeds and data sets.

    Returns:
        None where one of them failed, or nothing was measured. Stopped trials count with what they had reached, and
        those that had reached nothing don't count.
    """
    values = []
    for status, outcome in trials:
        if outcome is not None and math.isfinite(outcome) and status in ("ok", "stopped"):
            values.append(outcome)
        elif status != "stopped":
            return None
    return fmean(values) if values else None


def stored_outcomes(folder: Folder, outcome: str) -> dict[str, Ended]:
    """The status of each stored trial and its outcome, by trial id."""
    stored = read(folder, columns=["trial_id", "status", outcome])
    if (stored["status"] == "stopped").any():
        history = read_history(folder).sort_values("epoch", kind="stable")
        last = stored["trial_id"].map(history.groupby("trial_id")[outcome].last())
        stored[outcome] = stored[outcome].where(stored["status"] != "stopped", last)
    values = stored[outcome].astype(object).where(stored[outcome].notna(), None)
    return dict(zip(stored["trial_id"], zip(stored["status"], values, strict=True), strict=True))


class Floor:
    """What a configuration that failed is told at.

    The study's `analysis.floor`; else chance, for an accuracy, as the mean over data sets; else the worst mean that
    was seen so far, and before any was seen nothing.
    """

    def __init__(self, study: Study, data: Mapping[str, TrialData]) -> None:
        wish = study.analysis
        self.worst_of = min if wish.direction == "maximize" else max
        self.is_fixed = wish.floor is not None or wish.outcome.endswith("_top1")
        self.value = wish.floor
        if wish.floor is None and self.is_fixed:
            self.value = fmean(chance(wish.outcome, dataset_of(told)) for told in data.values())

    def see(self, outcome: float) -> None:
        """A configuration ended well, with this mean."""
        if not self.is_fixed:
            self.value = outcome if self.value is None else self.worst_of(self.value, outcome)
