"""The driver's side of the queue of packs: deaths, interrupts, and what there is to show."""

import time
from pathlib import Path
from typing import Any

import ray
from ray.tune.progress_reporter import TrialProgressCallback

from robustness.sweep.cause import cause_of
from robustness.sweep.interrupt import Interrupt
from robustness.sweep.progress import SweepProgress

_SECONDS_BETWEEN_NEWS = 1.0


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
    """Tells the queue which workers died and when to end, and shows its news.

    Args:
        queue: the actor of a `PackQueue`.
        progress: shows how far the sweep is.
        interrupt: whether the user wants the sweep to end.
    """

    def __init__(self, queue: Any, progress: SweepProgress, interrupt: Interrupt) -> None:
        self.queue, self.progress, self.interrupt = queue, progress, interrupt
        self.last_news = time.monotonic()
        self.told = False

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune's loop turned, which it does ten times a second at least."""
        if self.interrupt.wanted and not self.told:
            self.told = True
            ray.get(self.queue.interrupt.remote())
            self.progress.say("interrupted: packs save where they are; once more to leave at once")
        if time.monotonic() - self.last_news >= _SECONDS_BETWEEN_NEWS:
            self.show()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker died; Tune starts another one in its place."""
        noted = Path(trial.error_file)
        cause = cause_of(noted.read_text(errors="replace") if noted.is_file() else "")
        ray.get(self.queue.died.remote(trial.trial_id, cause))

    def show(self) -> None:
        """Show the news."""
        self.last_news = time.monotonic()
        self.progress.show(ray.get(self.queue.news.remote()))
