"""How far a sweep is: a bar on a terminal, a plain line every 30 seconds elsewhere."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from robustness.durations import duration
from robustness.sweep.turns import Ended, News

_SECONDS_BETWEEN_LINES = 30.0


class _TimeLeft(ProgressColumn):
    """Time left at the mean speed of this run."""

    def render(self, task: Task) -> Text:
        return Text(f"about {duration(task.fields['left_seconds'])} left", style="cyan")


class SweepProgress:
    """Counts trials as packs end, and expected work as packs advance.

    Args:
        costs: expected work of each pack that is left.
        members: number of trials of each pack that is left.
        done, failed: trials that were stored before.
    """

    def __init__(self, costs: Mapping[str, float], members: Mapping[str, int], *, done: int, failed: int) -> None:
        self.costs, self.members = dict(costs), dict(members)
        self.done, self.failed, self.left = done, failed, sum(members.values())
        self.total, self.ended_work, self.running_work = sum(costs.values()), 0.0, 0.0
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
        self.task = self.bar.add_task("", total=self.total, counts=self.counts(), left_seconds=None)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def counts(self) -> str:
        """`120 done, 0 failed, 410 left`; failed trials are done too."""
        return f"{self.done} done, {self.failed} failed, {self.left} left"

    def left_seconds(self) -> float | None:
        """Time left at the mean speed so far; None before anything has advanced."""
        worked = self.ended_work + self.running_work
        elapsed = time.monotonic() - self.started
        return elapsed * max(self.total - worked, 0.0) / worked if worked > 0 else None

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

    def show(self, news: News) -> None:
        """Take in what happened; the cost depends on that alone, not on how many packs there are."""
        for ended in news.ended:
            self._count(ended)
        for line in news.lines:
            self.say(line)
        self.running_work = sum(self.costs[pack] * share for pack, share in news.shares.items())
        if self.console.is_terminal:
            self._draw()
        elif time.monotonic() - self.last_line >= _SECONDS_BETWEEN_LINES:
            self._line()

    def _count(self, ended: Ended) -> None:
        members = self.members[ended.pack]
        self.done += members
        self.left -= members
        self.failed += ended.failed
        self.ended_work += self.costs[ended.pack]
        if ended.message:
            self.say(ended.message)

    def _draw(self) -> None:
        worked = self.ended_work + self.running_work
        self.bar.update(self.task, completed=worked, counts=self.counts(), left_seconds=self.left_seconds())

    def _line(self) -> None:
        self.last_line = time.monotonic()
        left = duration(self.left_seconds())
        elapsed = duration(self.last_line - self.started)
        self.say(f"{self.counts()}; {elapsed} elapsed, about {left} left")
