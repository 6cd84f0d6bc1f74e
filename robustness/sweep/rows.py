"""Results -> rows of the store: what was planned, what came of it, and with which versions."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pandas as pd
import pyarrow as pa

from robustness.store import HISTORY_SCHEMA, PLAN_SCHEMA, TRIALS_SCHEMA, Row
from robustness.trial import PROTOCOL_VERSION, TrialResult

Planned = Mapping[str, Any]

FAILED = ("diverged", "out_of_memory", "timeout", "error")
"""The statuses of trials that failed; one that was stopped early did not."""


def by_pack(plan: pd.DataFrame) -> pa.Table:
    """Planned trials in the order of their packs, for `members_of`; workers of a node share one copy of it."""
    ordered = plan.sort_values("pack_id", kind="stable")
    return pa.Table.from_pandas(ordered, schema=PLAN_SCHEMA, preserve_index=False).combine_chunks()


def members_of(planned: pa.Table, pack: str) -> list[dict[str, Any]]:
    """The planned rows of one pack, missing values as None.

    Args:
        planned: from `by_pack`.
    """
    packs, rows = planned["pack_id"], range(len(planned))
    begin = bisect_left(rows, pack, key=lambda row: packs[row].as_py())
    end = bisect_right(rows, pack, lo=begin, key=lambda row: packs[row].as_py())
    return planned.slice(begin, end - begin).to_pylist()  # type: ignore[no-any-return]


def trial_rows(planned: Sequence[Planned], results: Sequence[TrialResult]) -> list[Row]:
    """One row of `trials` per member."""
    provenance = {
        "code_version": version("robustness"),
        "protocol_version": PROTOCOL_VERSION,
        "torch_version": version("torch"),
        "finished_at": datetime.now(UTC),
    }
    return [
        _only(TRIALS_SCHEMA.names, plan, _done(result), result.outcomes, result.cost, provenance)
        for plan, result in zip(planned, results, strict=True)
    ]


def history_rows(planned: Sequence[Planned], results: Sequence[TrialResult]) -> list[Row]:
    """One row of `history` per member and evaluated epoch."""
    return [
        _only(HISTORY_SCHEMA.names, plan, {"images": _images(result, epoch)}, epoch)
        for plan, result in zip(planned, results, strict=True)
        for epoch in result.history
    ]


def _images(result: TrialResult, epoch: Mapping[str, Any]) -> int:
    """Up to this epoch: every update of a trial sees as many."""
    return result.images * int(epoch["updates"]) // max(result.updates, 1)


def _done(result: TrialResult) -> Row:
    names = ("status", "error", "epochs", "updates", "images")
    return {name: getattr(result, name) for name in names}


def _only(columns: Sequence[str], *parts: Mapping[str, Any]) -> Row:
    merged = {name: value for part in parts for name, value in part.items()}
    return {name: merged[name] for name in columns if name in merged}
