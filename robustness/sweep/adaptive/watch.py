"""The driver's side of an adaptive sweep: interrupts, deaths, and what there is to show."""

import math
import time
from pathlib import Path
from typing import Any

from robustness.sweep.adaptive.search import AdaptiveSearch
from robustness.sweep.cause import cause_of
from robustness.sweep.cluster import leaving_nodes
from robustness.sweep.interrupt import Interrupt
from robustness.sweep.progress import SweepProgress
from robustness.sweep.turns import Ended, News
from robustness.sweep.watch import Quiet
from robustness.sweep.worker import MachineLeavesError

SECONDS_BETWEEN_LOOKS = 1.0


class AdaptiveWatch(Quiet):
    """Shows how configurations advance, and lets workers save where they are when the user interrupts.

    Args:
        search: suggests nothing more after that.
        referee: the actor of a `Referee`.
        progress: of as many packs as configurations are left, named by their numbers: one for each trial of Tune.
        interrupt: whether the user wants the sweep to end.
        ends_at: when the sweep's time is up, on the clock of `time.monotonic`; never unless given.
    """

    def __init__(
        self,
        search: AdaptiveSearch,
        referee: Any,
        progress: SweepProgress,
        interrupt: Interrupt,
        *,
        ends_at: float | None = None,
    ) -> None:
        self.search, self.referee, self.progress, self.interrupt = search, referee, progress, interrupt
        self.ends_at = math.inf if ends_at is None else ends_at
        self.last_look, self.leaving = time.monotonic(), set[str]()
        self.numbers: dict[str, str] = {}
        self.shares: dict[str, float] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A configuration advanced by a pack, or ended."""
        number = self.numbers.setdefault(trial.trial_id, str(len(self.numbers)))
        ended, failed, left = result["ended"], result["failed"], result["left"]
        self.shares[number] = ended / (ended + left)
        if left == 0:
            del self.shares[number]
            self._show(Ended(number, failed=failed, message=result["message"]))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune's loop turned, which it does ten times a second at least."""
        over = time.monotonic() >= self.ends_at
        if (self.interrupt.wanted or over) and self.search.most != 0:
            self.search.most = 0
            self.referee.end.remote()
            why = "the budget is spent: trials save where they are"
            self.progress.say(why if over else "interrupted: trials save where they are; once more to leave at once")
        if time.monotonic() - self.last_look >= SECONDS_BETWEEN_LOOKS:
            self.last_look = time.monotonic()
            if leaving := leaving_nodes() - self.leaving:
                self.leaving |= leaving
                self.referee.leave.remote(leaving)
        self._show()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker died; Tune starts another one in its place."""
        noted = Path(trial.error_file)
        text = noted.read_text(errors="replace") if noted.is_file() else ""
        if MachineLeavesError.__name__ in text.rpartition("Failure # ")[2]:
            return
        cause = cause_of(text)
        self.progress.say(f"a worker died with a {trial.config['family']} trial, which is tried again: {cause}")

    def _show(self, *ended: Ended) -> None:
        self.progress.show(News(list(ended), self.shares, []))
