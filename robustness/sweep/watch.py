"""The driver's side of the queue of packs: deaths, interrupts, and what there is to show."""

import math
import time
from pathlib import Path
from typing import Any

import ray
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler

from robustness.sweep.cause import cause_of
from robustness.sweep.cluster import leaving_nodes, node_names
from robustness.sweep.interrupt import Interrupt
from robustness.sweep.progress import SweepProgress
from robustness.sweep.stragglers import Stragglers

_SECONDS_BETWEEN_NEWS = 1.0
_SECONDS_BETWEEN_LOOKS = 60.0
_SECONDS_WITHOUT_WORKERS = 60.0


class Quiet(TrialProgressCallback):  # type: ignore[misc]  # ray ships no types
    """Takes the place of Tune's own, which prints a line a trial even where Tune is told to be silent."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks into a snapshot that is never read, and a terminal can't be."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Print nothing."""

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print nothing."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print nothing."""


class Watch(Quiet):
    """Tells the queue which workers died, which machines leave and when to end, and shows its news.

    Args:
        queue: the actor of a `PackQueue`.
        progress: shows how far the sweep is.
        interrupt: whether the user wants the sweep to end.
        stragglers: finds packs that are slow.
        ends_at: when the sweep's time is up, on the clock of `time.monotonic`; never unless given.
    """

    def __init__(
        self,
        queue: Any,
        progress: SweepProgress,
        interrupt: Interrupt,
        *,
        stragglers: Stragglers,
        ends_at: float | None = None,
    ) -> None:
        self.queue, self.progress, self.interrupt, self.stragglers = queue, progress, interrupt, stragglers
        self.last_news = self.last_look = self.last_busy = time.monotonic()
        self.ends_at = math.inf if ends_at is None else ends_at
        self.leaving: set[str] = set()
        self.packs_wait = True
        self.told = False

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune's loop turned, which it does ten times a second at least."""
        over = time.monotonic() >= self.ends_at
        if (self.interrupt.wanted or over) and not self.told:
            self.told = True
            ray.get(self.queue.interrupt.remote())
            why = "the budget is spent: packs save where they are"
            self.progress.say(why if over else "interrupted: packs save where they are; once more to leave at once")
        if time.monotonic() - self.last_news >= _SECONDS_BETWEEN_NEWS:
            self.show()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker died; Tune starts another one in its place."""
        noted = Path(trial.error_file)
        cause = cause_of(noted.read_text(errors="replace") if noted.is_file() else "")
        ray.get(self.queue.died.remote(trial.trial_id, cause))
        # What it had waits for this trial, which starts again.
        self.packs_wait = True

    def show(self) -> None:
        """Show the news."""
        now = self.last_news = time.monotonic()
        news = ray.get(self.queue.news.remote())
        self.packs_wait = news.waiting > 0
        self.progress.show(news)
        if news.running or not self.packs_wait:
            self.last_busy = now
        elif now - self.last_busy >= _SECONDS_WITHOUT_WORKERS:
            self.last_busy = now
            self.progress.say(f"no worker runs: {news.waiting} packs wait for machines with room for one")
        self._tell_who_leaves()
        if now - self.last_look >= _SECONDS_BETWEEN_LOOKS:
            self.last_look = now
            for line in self.stragglers.lines(news.running, node_names()):
                self.progress.say(line)

    def _tell_who_leaves(self) -> None:
        leaving = leaving_nodes()
        if leaving - self.leaving:
            self.leaving |= leaving
            names = node_names()
            ray.get(self.queue.leave.remote({node: names[node][0] for node in leaving if node in names}))


class WhilePacksWait(FIFOScheduler):  # type: ignore[misc]  # ray ships no types
    """Starts workers in order; those that have no machine yet are taken back once no pack waits.

    Otherwise a cluster's autoscaler would get machines for them, and the end of a sweep would start each in turn.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The next worker to start."""
        if not self.watch.packs_wait:
            for trial in tune_controller.get_trials():
                if trial.status == Trial.PENDING:
                    # Tune asks for its folder at the end, even of one that had no turn.
                    trial.init_local_path()
                    tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller)
