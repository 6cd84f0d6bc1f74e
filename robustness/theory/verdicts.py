"""Statements measured one after another, as a table."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch

from robustness.theory.statement import Statement

COLUMNS = ("statement", "claim", "source", "quantity", "measured", "low", "high", "expected", "holds", "seconds")


def run(statements: Mapping[str, Statement], *, on_done: Callable[[str], None] = lambda name: None) -> pd.DataFrame:
    """Measure statements, each on one thread of the processor.

    Args:
        statements: by their numbers.
        on_done: called with the number of each statement after it was measured.

    Returns:
        A row a measurement: statement, claim, source, quantity, measured, low, high (between which it has to lie),
        expected (NaN where the statement names no number), holds, seconds (of all measurements of the statement).
    """
    rows = []
    with _one_thread():
        for name, statement in statements.items():
            started = time.perf_counter()
            found = statement.check()
            seconds = time.perf_counter() - started
            rows += [
                (name, statement.claim, statement.source, one.quantity, one.measured, one.low, one.high, one.expected,
                 one.holds, seconds)
                for one in found
            ]  # fmt: skip
            on_done(name)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"expected": float})


def failed(measured: pd.DataFrame) -> list[str]:
    """The statements of which a measurement does not hold."""
    return list(measured.loc[~measured["holds"], "statement"].unique())


def bounds(row: "pd.Series[Any]") -> str:
    """Where a measured number has to lie, in words; `row` is one of `run`."""
    low, high, expected = row["low"], row["high"], row["expected"]
    if not math.isnan(expected):
        return f"{expected:.9g} within {(high - low) / 2:.2g}"
    if math.isinf(high):
        return f"above {low:.6g}"
    return f"below {high:.6g}" if math.isinf(low) else f"{low:.4g} to {high:.4g}"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices here are small, and sums in one order give the same numbers each time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
