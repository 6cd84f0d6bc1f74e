"""Stored trials in the tools that track experiments: a view of the store, which can be made again at any time."""

from robustness.logs.follow import following
from robustness.logs.runs import Run, RunLog, unlogged
from robustness.logs.tools import TOOLS, Logged, check_installed, export_runs, home_of, open_log

__all__ = [
    "TOOLS",
    "Logged",
    "Run",
    "RunLog",
    "check_installed",
    "export_runs",
    "following",
    "home_of",
    "open_log",
    "unlogged",
]
