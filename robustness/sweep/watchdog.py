"""Ending a process that takes too long, whatever it hangs in."""

import faulthandler
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def watchdog() -> Iterator[Callable[[float], None]]:
    """Yields a function that lets this process end after so many seconds, unless the block ends before.

    A thread of C does it, which needs no lock of Python's: native code that hangs with the lock held ends too.
    """
    with Path(os.devnull).open("w") as nowhere:
        try:
            yield lambda seconds: faulthandler.dump_traceback_later(max(seconds, 0.001), exit=True, file=nowhere)
        finally:
            faulthandler.cancel_dump_traceback_later()
