"""What Ray Tune schedules in an adaptive study: one configuration, on every data set at every seed."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray import tune

from robustness.plan import TrialData, suggested
from robustness.store import StoreError, stored_packs
from robustness.sweep.adaptive.outcomes import Ended, mean_outcome, stored_outcomes
from robustness.sweep.adaptive.referee import standing
from robustness.sweep.packs import Images, Job, store, train_and_store
from robustness.sweep.rows import FAILED, Planned, by_pack, members_of
from robustness.sweep.watchdog import watchdog
from robustness.sweep.worker import MachineLeavesError, device_of
from robustness.training import Interrupted
from robustness.trial import Trial, TrialResult
from search_spaces.study import Study

_SECONDS_BETWEEN_LOOKS = 1.0


def work(
    config: dict[str, Any],
    *,
    study: Study,
    data: Mapping[str, TrialData],
    job: Job,
    images: Images,
    referee: Any,
) -> None:
    """Train a configuration, store each of its trials as it ends, and report.

    What was stored before this worker died is not run again. Reports how many trials `ended`, how many of them
    `failed`, how many are `left`, the mean `outcome` so far (0 where there is none), and a `message` to print or the
    `stop_reason` of a sweep that can't store results.

    Args:
        config: `family`, and `configuration` as `AdaptiveSearch` suggests it.
        data: what trials tell of each data set.
        referee: the actor of a `Referee`.
    """
    rows = suggested(study, data, study.families[config["family"]], [config["configuration"]])
    packs, planned = list(dict.fromkeys(rows["pack_id"])), by_pack(rows)
    name, node = str(rows["trial_id"].iloc[0]), ray.get_runtime_context().get_node_id()
    run = _Run(study, job, images, referee, name=name, device=device_of(job), node=node)
    try:
        stored = stored_packs(job.folder).intersection(packs)
        known = stored_outcomes(job.folder, study.analysis.outcome) if stored else {}
        for pack in packs:
            members = members_of(planned, pack)
            message = ""
            if pack in stored:
                run.ended += [known[row["trial_id"]] for row in members]
            else:
                message = run.train(pack, members)
            tune.report(run.report(left=len(rows) - len(run.ended), message=message))
    except Interrupted:
        if ray.get(referee.moves.remote(run.node)):
            raise MachineLeavesError from None
        return
    except (StoreError, OSError) as error:
        said = f"{job.folder}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        ray.get(referee.end.remote())
        tune.report(run.report(left=len(rows)) | {"stop_reason": f"can't store results: {said}"})


@dataclass
class _Run:
    """A configuration while it is trained.

    Args:
        name: by which the referee tells it from others.
        node: where it runs.
        ended: its trials so far.
        poor: why it was stopped, None while it was not.
    """

    study: Study
    job: Job
    images: Images
    referee: Any
    name: str
    device: torch.device
    node: str
    ended: list[Ended] = field(default_factory=list)
    poor: str | None = None

    def train(self, pack: str, members: Sequence[Planned]) -> str:
        """Train and store its next trials, or store them as `stopped` if it was; returns a line to print."""
        if self.poor is not None:
            results = [TrialResult("stopped", f"not begun: {self.poor}")] * len(members)
            stored = store(pack, members, results, self.job)
        else:
            with self._watched(len(members)) as hooks:
                stored = train_and_store(pack, members, self.job, self.images, device=self.device, **hooks)
        self.ended += [(result.status, _last(result, self.study.analysis.outcome)) for result in stored.results]
        return stored.message

    def report(self, *, left: int, message: str = "") -> dict[str, Any]:
        """What `work` reports."""
        failed = sum(status in FAILED for status, _ in self.ended)
        outcome = mean_outcome(self.ended) or 0.0
        return {"ended": len(self.ended), "failed": failed, "left": left, "outcome": outcome, "message": message}

    @contextmanager
    def _watched(self, num_members: int) -> Iterator[dict[str, Callable[..., Any]]]:
        """Yields the hooks of training, which end this process when the trials have taken too long."""
        timeout = self.job.trial_timeout
        with watchdog() as end_after:

            def on_start(share: float, seconds: float) -> None:
                if timeout is not None:
                    end_after(timeout * num_members - seconds)

            yield {"on_start": on_start, "on_progress": self._looker(), "prune": self._prune}

    def _looker(self) -> Callable[[float], None]:
        last = time.monotonic()

        def look(share: float) -> None:
            nonlocal last
            if time.monotonic() - last >= _SECONDS_BETWEEN_LOOKS:
                last = time.monotonic()
                if not ray.get(self.referee.goes_on.remote(self.node)):
                    raise Interrupted

        return look

    def _prune(self, trial: Trial, epoch: Mapping[str, Any]) -> str | None:
        if self.study.design.scheduler is None:
            return None
        stands = standing(self.study, self.ended, trial, epoch)
        if stands is not None and ray.get(self.referee.is_poor.remote(self.name, stands)):
            self.poor = (
                f"stopped by asha after epoch {epoch['epoch']:g} at seed {trial.seed}: others did better by then"
            )
        return self.poor


def _last(result: TrialResult, outcome: str) -> float | None:
    """The outcome, of a trial that was stopped the last that was measured."""
    if result.status == "stopped" and result.history:
        return result.history[-1].get(outcome)
    return result.outcomes.get(outcome)
