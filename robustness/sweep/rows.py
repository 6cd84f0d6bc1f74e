"""Results -> rows of the store: what was planned, what came of it, and with which versions."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pandas as pd

from robustness.store import HISTORY_SCHEMA, TRIALS_SCHEMA, Row
from robustness.trial import PROTOCOL_VERSION, TrialResult

Planned = Mapping[str, Any]


def members_of(plan: pd.DataFrame, pack: str) -> list[dict[str, Any]]:
    """The planned rows of one pack, missing values as None."""
    rows = plan[plan["pack_id"] == pack].astype(object)
    return [
        {str(name): value for name, value in row.items()} for row in rows.where(rows.notna(), None).to_dict("records")
    ]


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
        _only(HISTORY_SCHEMA.names, plan, {"images": int(epoch["updates"] * (plan["batch_size"] or 0))}, epoch)
        for plan, result in zip(planned, results, strict=True)
        for epoch in result.history
    ]


def _done(result: TrialResult) -> Row:
    names = ("status", "error", "epochs", "updates", "images")
    return {name: getattr(result, name) for name in names}


def _only(columns: Sequence[str], *parts: Mapping[str, Any]) -> Row:
    merged = {name: value for part in parts for name, value in part.items()}
    return {name: merged[name] for name in columns if name in merged}
