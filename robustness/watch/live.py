"""What the page shows of a study, and the steps that keep it up to date."""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

from robustness.status import Standing, standing
from robustness.store import Folder
from robustness.watch.rendering import render

LOOK_SECONDS = 2.0
IDLE_SHARE = 4.0
"""Seconds without looking for each second that looking took: an object store may take long."""


@dataclass(frozen=True)
class Report:
    """A report that was rendered.

    Args:
        number: counts the reports; a later one has a higher number.
        as_of: when its rendering began.
        standing: of the study just before.
        files: where each of its files lies, by its name relative to the page.
    """

    number: int
    as_of: datetime
    standing: Standing
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Attempt:
    """The latest rendering that ended: what it was about, and why there is no report of it, empty if there is."""

    standing: Standing
    ended: datetime
    failure: str


@dataclass(frozen=True)
class View:
    """All that the page tells.

    Args:
        standing: as it was last read.
        trouble: why it can't be read now; empty if it can.
        report: the latest one that could be rendered.
        attempt: the latest rendering, well or not.
        is_rendering: whether one goes on.
    """

    standing: Standing
    trouble: str = ""
    report: Report | None = None
    attempt: Attempt | None = None
    is_rendering: bool = False


def is_due(view: View, *, every: timedelta, now: datetime) -> bool:
    """Whether to render a report: results came since the latest one, and it is old enough or all results are there."""
    if view.is_rendering:
        return False
    if view.attempt is None:
        return True
    if _results(view.standing) == _results(view.attempt.standing):
        return False
    return view.standing.total.left == 0 or now - view.attempt.ended >= every


def _results(found: Standing) -> tuple[object, ...]:
    """What changes when results come, or when the plan grows."""
    return found.total.done, found.total.left, found.total.failed, found.last_stored


class Live:
    """The view of a study and the folder that its reports are rendered into.

    Raises:
        StoreError: there is no study in `folder`, or it is damaged.
    """

    def __init__(self, folder: Folder, scratch: Path) -> None:
        self.folder = folder
        self.scratch = scratch
        self.view = View(standing(folder))

    async def look(self) -> None:
        """Read how the study stands; where that fails, the view keeps the last one and tells why."""
        # Read in a thread, but the view changes in the loop only: else two changes at once could lose one.
        try:
            found, trouble = await asyncio.to_thread(standing, self.folder), ""
        except (ValueError, OSError) as error:
            found, trouble = self.view.standing, " ".join(str(error).split())
        self.view = replace(self.view, standing=found, trouble=trouble)

    async def render(self, *, now: datetime) -> None:
        """Render the report in another process, and replace the one before; where that fails, keep it and tell why.

        Args:
            now: the time of the report.
        """
        found, before = self.view.standing, self.view.report
        number = 1 if before is None else before.number + 1
        out = self.scratch / str(number)
        started = monotonic()
        self.view = replace(self.view, is_rendering=True)
        failure = await render(self.folder, out)
        ended = now + timedelta(seconds=monotonic() - started)
        report = before if failure else Report(number, now, found, _files(out))
        attempt = Attempt(found, ended, failure)
        self.view = replace(self.view, report=report, attempt=attempt, is_rendering=False)
        old = out if failure else self.scratch / str(number - 1)
        await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


async def keep_up(live: Live, *, every: timedelta) -> None:
    """Look and render without end; at most one rendering at a time."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_look_again(live))
        group.create_task(_render_again(live, every=every))


async def _look_again(live: Live) -> None:
    while True:
        started = monotonic()
        await live.look()
        await asyncio.sleep(max(LOOK_SECONDS, IDLE_SHARE * (monotonic() - started)))


async def _render_again(live: Live, *, every: timedelta) -> None:
    while True:
        now = datetime.now(UTC)
        if is_due(live.view, every=every, now=now):
            await live.render(now=now)
        await asyncio.sleep(LOOK_SECONDS)
