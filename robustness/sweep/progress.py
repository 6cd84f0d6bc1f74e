"""How far a sweep is: a bar on a terminal, a plain line every 30 seconds elsewhere."""

import time
from collections.abc import Mapping
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from robustness.durations import duration

_SECONDS_BETWEEN_LINES = 30.0


class _TimeLeft(ProgressColumn):
    """Time left at the mean speed of this run."""

    def render(self, task: Task) -> Text:
        return Text(f"about {duration(task.fields['left_seconds'])} left", style="cyan")


class SweepProgress(Callback):  # type: ignore[misc]  # ray ships no types
    """Counts trials as packs end, and expected work as packs advance.

    Args:
        costs: expected work of each pack that is left.
        members: number of trials of each pack that is left.
        done, failed: trials that were stored before.
    """

    def __init__(self, costs: Mapping[str, float], members: Mapping[str, int], *, done: int, failed: int) -> None:
        self.costs, self.members = dict(costs), dict(members)
        self.done, self.failed = done, failed
        self.shares: dict[str, float] = {}
        self.finished: set[str] = set()
        self.started = self.last_line = time.monotonic()
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.fields[counts]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=self.console,
            transient=False,
        )
        self.task = self.bar.add_task("", total=sum(self.costs.values()), counts=self.counts(), left_seconds=None)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks into a snapshot that is never read, and a terminal can't be."""
        return {}

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def counts(self) -> str:
        """`120 done, 0 failed, 410 left`; failed trials are done too."""
        left = sum(count for pack, count in self.members.items() if pack not in self.finished)
        return f"{self.done} done, {self.failed} failed, {left} left"

    def left_seconds(self) -> float | None:
        """Time left at the mean speed so far; None before anything has advanced."""
        total = sum(self.costs.values())
        worked = sum(self.costs[pack] * share for pack, share in self.shares.items())
        elapsed = time.monotonic() - self.started
        return elapsed * max(total - worked, 0.0) / worked if worked > 0 else None

    def __enter__(self) -> "SweepProgress":
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._draw()
            self.bar.stop()
        else:
            self._line()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A worker reported: its pack advanced, or ended."""
        pack = result["pack"]
        if pack in self.finished:
            return
        self.shares[pack] = result["share"]
        if result["share"] >= 1:
            self.finished.add(pack)
            self.done += result["ok"] + result["failed"]
            self.failed += result["failed"]
        if result["message"]:
            self.say(result["message"])
        self._draw()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune's loop turned: time for a line, where nobody watches a bar."""
        if not self.console.is_terminal and time.monotonic() - self.last_line >= _SECONDS_BETWEEN_LINES:
            self._line()

    def _draw(self) -> None:
        worked = sum(self.costs[pack] * share for pack, share in self.shares.items())
        self.bar.update(self.task, completed=worked, counts=self.counts(), left_seconds=self.left_seconds())

    def _line(self) -> None:
        self.last_line = time.monotonic()
        left = duration(self.left_seconds())
        elapsed = duration(self.last_line - self.started)
        self.say(f"{self.counts()}; {elapsed} elapsed, about {left} left")
