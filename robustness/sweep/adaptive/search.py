"""What Ray Tune asks for configurations: each family in turn, and the plan holds a suggestion before it runs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
from ray.tune.search import Searcher

from robustness.plan import Known, TrialData, known_configurations, suggested, varying_axes
from robustness.store import Folder, StoreError, add_to_plan, read_plan
from robustness.sweep.adaptive.family import FamilySearch
from robustness.sweep.adaptive.outcomes import Floor, mean_outcome, stored_outcomes
from robustness.sweep.adaptive.repeats import read_repeats, write_repeats
from search_spaces.study import Study

MOST_DEATHS = 3
"""How many configurations in a row may end their workers before going on makes no sense."""

TrialIds = frozenset[str]
"""A configuration, by the ids of its trials."""


class AdaptiveSearch(Searcher):  # type: ignore[misc]  # ray ships no types
    """A Searcher over all families of an adaptive study, so that no worker waits for a family.

    It begins with what the folder holds, told to the samplers in planned order. Tune's trials get `family` and
    `configuration`, and report what `robustness.sweep.adaptive.worker` says.

    Args:
        data: what trials tell of each data set.
        most: suggestions that are run at most; None means as many as the design says.

    Raises:
        StoreError: the folder can't be read.
    """

    def __init__(self, study: Study, folder: Folder, data: Mapping[str, TrialData], *, most: int | None = None) -> None:
        super().__init__()
        self.study, self.folder, self.data, self.most = study, folder, data, most
        self.stop_reason: str | None = None
        self.deaths = 0
        self.floor = Floor(study, data)
        repeats = read_repeats(folder)
        self.families = {
            label: FamilySearch(study, family, repeats=repeats.get(label, 0))
            for label, family in study.families.items()
            if varying_axes(study, family)
        }
        self.planned = read_plan(folder)
        self.running: dict[str, TrialIds] = {}
        """What each trial of Tune runs."""
        self.ended: dict[TrialIds, float | None] = {}
        """Mean outcomes; None of configurations that failed."""
        self.untold: list[tuple[TrialIds, Callable[[float], None]]] = []
        """Whom to tell of a configuration as soon as its mean is known, or for a failed one the floor."""
        self._learn(self._count(self.planned))

    @property
    def num_left(self) -> int:
        """How many configurations are still to be suggested."""
        wanted = self.study.design.configurations or 0
        left = sum(max(wanted - search.num_suggested, 0) for search in self.families.values())
        return left if self.most is None else min(left, self.most)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """A family and a configuration that was not planned before; `FINISHED` when there are enough."""
        try:
            while self.stop_reason is None and self.num_left > 0:
                search = min(self.families.values(), key=lambda search: search.num_suggested)
                name, configuration = search.ask()
                rows = suggested(self.study, self.data, search.family, [configuration])
                trial_ids = frozenset(rows["trial_id"])
                self.untold.append((trial_ids, partial(search.tell, name)))
                if self._add_to_plan(rows):
                    self.running[trial_id] = trial_ids
                    self.most = None if self.most is None else self.most - 1
                    return {"family": search.family.label, "configuration": configuration}
                search.num_repeats += 1
                write_repeats(self.folder, {label: search.num_repeats for label, search in self.families.items()})
                self._tell()
        except (StoreError, OSError) as error:
            self.stop(f"can't extend the plan: {error}")
        return str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the family's sampler the mean over the configuration's trials, or the floor if one failed.

        One that was interrupted has no end yet.
        """
        trial_ids, found = self.running.pop(trial_id), result or {}
        if found.get("stop_reason"):
            self.stop(found["stop_reason"])
        elif error:
            self.deaths += 1
            if self.deaths >= MOST_DEATHS:
                self.stop(f"{MOST_DEATHS} configurations in a row ended their workers; the same command continues")
            self._end(trial_ids, None)
        elif found.get("left") == 0:
            self.deaths = 0
            self._end(trial_ids, None if found["failed"] else found["outcome"])

    def stop(self, reason: str) -> None:
        """Suggest nothing more: going on makes no sense."""
        self.stop_reason = self.stop_reason or reason

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are never read, the store is all that is needed."""

    def _add_to_plan(self, rows: pd.DataFrame) -> bool:
        """Put these trials into the plan; False where it holds them already.

        Another sweep of the same folder may have added some meanwhile: its configurations count, too.
        """
        planned, added = add_to_plan(self.folder, rows)
        known = {*self.planned["trial_id"], *(rows["trial_id"] if added else ())}
        self._count(planned[~planned["trial_id"].isin(known)])
        self.planned = planned
        return added

    def _count(self, planned: pd.DataFrame) -> list[Known]:
        known = known_configurations(self.study, planned)
        for configuration in known:
            self.families[configuration.family].num_suggested += 1
        return known

    def _learn(self, known: list[Known]) -> None:
        stored = stored_outcomes(self.folder, self.study.analysis.outcome)
        for one in known:
            if stored.keys() >= set(one.trial_ids):
                trial_ids = frozenset(one.trial_ids)
                self.untold.append((trial_ids, partial(self.families[one.family].learn, one.configuration)))
                self._end(trial_ids, mean_outcome(stored[trial_id] for trial_id in trial_ids))

    def _end(self, trial_ids: TrialIds, outcome: float | None) -> None:
        self.ended[trial_ids] = outcome
        if outcome is not None:
            self.floor.see(outcome)
        self._tell()

    def _tell(self) -> None:
        waiting, self.untold = self.untold, []
        for trial_ids, tell in waiting:
            outcome = self.ended.get(trial_ids)
            told = self.floor.value if outcome is None else outcome
            if trial_ids in self.ended and told is not None:
                tell(told)
            else:
                self.untold.append((trial_ids, tell))
