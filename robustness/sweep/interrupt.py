"""Ctrl-C and SIGTERM: the first is a wish, which timers back; the second is an order."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SECONDS_TO_SAVE = 6
"""How long workers may take to save where they are when the user interrupts."""

SECONDS_TO_LEAVE = 10
"""How long this process goes on at most after that signal, whatever it waits for."""


@dataclass
class Interrupt:
    """Whether the user wants the sweep to end."""

    wanted: bool = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Note the first SIGINT or SIGTERM within the block; raise KeyboardInterrupt at the second, or when time is up.

    Where even that is without effect, because this process waits in native code for a cluster that got the same
    signal and is gone, the process ends. Python allows it in the main thread only; elsewhere nothing changes.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    last_resort = threading.Timer(SECONDS_TO_LEAVE, _leave)
    last_resort.daemon = True

    def handle(number: int, frame: Any) -> None:
        if interrupt.wanted:
            raise KeyboardInterrupt
        interrupt.wanted = True
        signal.alarm(SECONDS_TO_SAVE)
        last_resort.start()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    try:
        yield interrupt
    finally:
        signal.alarm(0)
        last_resort.cancel()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave() -> None:
    print("interrupted: Ray does not answer; what was stored stays, the same command continues", file=sys.stderr)
    os._exit(128 + signal.SIGINT)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM within the block raise KeyboardInterrupt as Ctrl-C does; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
