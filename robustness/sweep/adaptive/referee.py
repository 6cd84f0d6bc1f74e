"""Whether to go on: with the sweep, and with a configuration that does worse than others did by then."""

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import pandas as pd
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from robustness.plan import Known, evaluation_updates, num_updates
from robustness.store import Folder, read_history
from robustness.sweep.adaptive.outcomes import Ended, mean_outcome, stored_outcomes
from robustness.trial import Trial
from search_spaces.study import Study

Standing = tuple[float, float]
"""How far a configuration is, in evaluations, and its mean outcome by then."""


class Referee:
    """Runs as one actor, which workers ask.

    Configurations are compared by Ray Tune's ASHA, with its defaults: after 1, 4, 16, ... evaluations the best quarter
    of those that came so far goes on. It is asked rather than given to Tune, for Tune ends the worker of a trial that
    it stops, and this way the worker stores what there is.

    Args:
        mode: whether a larger outcome is better.
        most_evaluations: of one configuration, over all its trials.
    """

    def __init__(self, mode: Literal["max", "min"], *, most_evaluations: int) -> None:
        self.ended = False
        self.leaving: set[str] = set()
        self.asha = ASHAScheduler(time_attr="time", metric="outcome", mode=mode, max_t=most_evaluations + 1)
        self.entered: set[str] = set()

    def end(self) -> None:
        """Let workers save where they are: the user wants it, or results can't be stored."""
        self.ended = True

    def leave(self, nodes: set[str]) -> None:
        """These nodes are told to go: their workers save where they are and move."""
        self.leaving |= nodes

    def goes_on(self, node: str) -> bool:
        """Whether a worker on this node does."""
        return not self.ended and node not in self.leaving

    def moves(self, node: str) -> bool:
        """Whether a worker that doesn't go on shall end so that another one starts elsewhere."""
        return not self.ended and node in self.leaving

    def is_poor(self, configuration: str, standing: Standing) -> bool:
        """Whether a configuration, called by the id of its first trial, shall be stopped."""
        trial = SimpleNamespace(trial_id=configuration)
        if configuration not in self.entered:
            self.entered.add(configuration)
            self.asha.on_trial_add(None, trial)
        time, outcome = standing
        said = self.asha.on_trial_result(None, trial, {"time": time, "outcome": outcome})
        return bool(said == TrialScheduler.STOP)

    def remember(self, standings: Sequence[tuple[str, Standing]]) -> None:
        """Take in how configurations stood in earlier runs."""
        for configuration, standing in standings:
            self.is_poor(configuration, standing)


def standing(study: Study, ended: Sequence[Ended], trial: Trial, epoch: Mapping[str, Any]) -> Standing | None:
    """How a configuration stands after an evaluation; None where one of its trials failed.

    Args:
        ended: its trials before this one.
        epoch: the row of history.
    """
    outcome = mean_outcome([*ended, ("ok", epoch[study.analysis.outcome])])
    if outcome is None:
        return None
    evaluations = len(evaluation_updates(trial, every=study.evaluation.every))
    return evaluations * (len(ended) + epoch["updates"] / num_updates(trial)), outcome


def stored_standings(
    study: Study, folder: Folder, planned: pd.DataFrame, known: Sequence[Known]
) -> Iterator[tuple[str, Standing]]:
    """How configurations stood when they were evaluated on the way, in planned order."""
    stored, history = stored_outcomes(folder, study.analysis.outcome), read_history(folder)
    epochs: dict[str, list[Any]] = {str(name): rows.to_dict("records") for name, rows in history.groupby("trial_id")}
    trials = dict(zip(planned["trial_id"], planned["trial"], strict=True))
    for one in known:
        ended = [stored[trial_id] for trial_id in one.trial_ids if trial_id in stored]
        for number, trial_id in enumerate(one.trial_ids):
            trial = Trial.from_json(trials[trial_id])
            for epoch in epochs.get(trial_id, ()):
                found = standing(study, ended[:number], trial, epoch)
                if found is not None and epoch["updates"] < num_updates(trial):
                    yield one.trial_ids[0], found
