"""How trials ended, from whatever column says so."""

from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.labels import counted
from analysis.table import OUTCOME_INFINITE, OUTCOME_MISSING, TableError
from analysis.table.columns import require_values
from analysis.table.numbers import Floats
from robustness.trial import Status

FLAGS = {"true": "failed", "yes": "failed", "1": "failed", "false": "ok", "no": "ok", "0": "ok"}
"""What the cells of a column mean that holds nothing else."""

OK_WORDS = {"ok", "complete", "completed", "done", "finished", "success", "succeeded"}
STOPPED_WORDS = {"stopped", "pruned"}
FAILED_WORDS = {
    *get_args(Status), "failed", "fail", "nan", "crashed", "killed", "oom", OUTCOME_MISSING, OUTCOME_INFINITE,
} - {"ok", "stopped"}  # fmt: skip

WORDS = dict.fromkeys(OK_WORDS, "ok") | dict.fromkeys(STOPPED_WORDS, "stopped") | {word: word for word in FAILED_WORDS}
"""What a word means: why a trial failed stays as it is."""


def statuses(column: "pd.Series[Any] | None", outcome: Floats) -> NDArray[np.object_]:
    """`ok`, `stopped`, or why a trial failed: its own word, or what its outcome lacks.

    Args:
        column: flags, true for a failure, or words; None where all trials ended well by their own account.
        outcome: (n,) of trials that ended well, a missing or infinite one makes a failure.

    Raises:
        TableError: there is no value, or a word whose meaning is not known.
    """
    found = np.full(len(outcome), "ok", dtype=object) if column is None else _meant(column)
    ok = found == "ok"
    found[ok & np.isnan(outcome)] = OUTCOME_MISSING
    found[ok & np.isinf(outcome)] = OUTCOME_INFINITE
    return found


def _meant(column: "pd.Series[Any]") -> NDArray[np.object_]:
    require_values("status", column)
    words = column.astype("str").str.strip().str.lower().str.removesuffix(".0")
    known = FLAGS if words.isin(FLAGS.keys()).all() else WORDS
    unknown = words[~words.isin(known.keys())]
    if len(unknown):
        raise TableError(_unknown(unknown, str(column.name)))
    return words.map(known).to_numpy(dtype=object)


def _unknown(words: Iterable[str], name: str) -> str:
    """The line about words of which the first that is no flag either is the most telling."""
    counts = pd.Series(words).value_counts(sort=False)
    word = next((word for word in counts.index if word not in FLAGS), counts.index[0])
    rows = counted(int(counts[word]), "row")
    return f"status: unknown word {word!r} in {name!r} ({rows}); expected ok, stopped or failed"
