"""Logs that follow a sweep: trials are logged while it goes on, and what is missing when it ends."""

import fcntl
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from robustness.logs.runs import RunLog, unlogged
from robustness.logs.tools import TOOLS, home_of, one_line, open_log
from robustness.store import Folder, StoreError, stored_packs

_SECONDS_BETWEEN_LOOKS = 10.0
_SHORT_WAIT_SECONDS = 5.0
_PATIENCE_SECONDS = 300.0


@contextmanager
def following(folder: Folder, names: Sequence[str]) -> Iterator[None]:
    """Log what is stored in a folder, in a thread a tool, until the block ends and everything is logged.

    A log that fails is one line on stderr, and nothing else: the same call again logs what is missing. Where the
    block raises, what is not logged yet is left to that, too.

    Args:
        folder: that a sweep fills.
        names: of `TOOLS`, installed.
    """
    followers = [_Follower(folder, name) for name in dict.fromkeys(names)]
    for follower in followers:
        follower.thread.start()
    try:
        yield
        for follower in followers:
            follower.ending.set()
        for follower in followers:
            follower.wait()
    finally:
        for follower in followers:
            follower.leaving.set()
            follower.ending.set()
        for follower in followers:
            # The run that is being logged ends, unless its tool hangs.
            follower.thread.join(_SHORT_WAIT_SECONDS)


class _Follower:
    """A thread that logs to one tool, whose own files it alone writes, also beside another sweep of the folder."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name
        self.home = home_of(folder) / name
        self.ending, self.leaving = threading.Event(), threading.Event()
        self.added = 0
        self.lock: TextIO | None = None
        self.log: RunLog | None = None
        self.seen: set[str] = set()
        self.thread = threading.Thread(target=self._follow, name=f"log {name}", daemon=True)

    def wait(self) -> None:
        """Until all is logged, or nothing was for minutes."""
        self.thread.join(_SHORT_WAIT_SECONDS)
        if self.thread.is_alive():
            self._say("logging what is stored; Ctrl-C leaves the rest to the same command")
        while self.thread.is_alive():
            before = self.added
            self.thread.join(_PATIENCE_SECONDS)
            if self.thread.is_alive() and self.added == before:
                self._say("does not answer; the same command logs what is missing")
                return

    def _follow(self) -> None:
        try:
            while not self.ending.wait(_SECONDS_BETWEEN_LOOKS):
                # Damaged files are the sweep's to set aside, and those of an older version to rewrite.
                with suppress(StoreError):
                    self._look()
            if not self.leaving.is_set():
                # Packs that were seen, too: failed trials may have been run again.
                self.seen.clear()
                if not self._look():
                    self._say("another sweep of this folder logs there; the same command logs what it leaves out")
        except Exception as error:  # Whatever the tool raises: a full disk, a server that is gone.
            self._say(f"can't log: {one_line(error)}; the sweep goes on, the same command logs what is missing")
        finally:
            if self.lock is not None:
                self.lock.close()

    def _look(self) -> bool:
        """Log what was stored since the last look; False where another process has the log."""
        packs = stored_packs(self.folder) - self.seen
        if not packs:
            return True
        if not self._alone():
            return False
        if self.log is None:
            self.log = open_log(self.folder, self.name, TOOLS[self.name].place(self.home))
        for run in unlogged(self.folder, self.log.logged, packs):
            if self.leaving.is_set():
                return True
            self.log.add(run)
            self.added += 1
        self.seen |= packs
        return True

    def _alone(self) -> bool:
        """Whether no other process logs there; the system ends the lock of one that dies."""
        if self.lock is None:
            self.home.mkdir(parents=True, exist_ok=True)
            lock = (self.home / ".lock").open("a")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                return False
            self.lock = lock
        return True

    def _say(self, line: str) -> None:
        # To what is stderr now: a bar on a terminal takes its place.
        print(f"--log {self.name}: {line}", file=sys.stderr)
