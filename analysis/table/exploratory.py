"""Which trials may stand for the reference measure, and which only show what was found on the way."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pandas as pd

from analysis.table import Design, Table

ADAPTIVE = frozenset({"tpe", "gp"})
"""Designs that choose the next configuration by the outcomes of those before."""


def split(table: Table) -> tuple[Table, Table]:
    """Part a table into what estimates under the reference measure may rest on, and what is exploratory.

    Configurations that were chosen by their outcomes crowd around the best, so any mean or share over them is
    biased by an unknown amount; of a trial that was stopped early the outcome is unknown. In a notebook:

        table, exploratory = split(table)
        len(exploratory.trials)

    Args:
        table: a trial is adaptive where its `design`, or where it has none the table's, is tpe or gp.

    Returns:
        The table without its exploratory trials, and with nothing else. Both keep the axes of all families. The
        first has the design of what is left; where nothing is, the table's own.
    """
    trials = table.trials
    adaptive = _designs(table).isin(ADAPTIVE)
    aside = adaptive | (trials["status"] == "stopped")
    kept = trials[~aside].reset_index(drop=True)
    return (
        replace(table, trials=kept, design=_design_of_rest(table, _designs(table)[~aside])),
        replace(table, trials=trials[aside].reset_index(drop=True)),
    )


def only_exploratory(table: Table) -> Sequence[tuple[str, str]]:
    """(data set, family) pairs that have adaptive trials and none that may enter an estimate, sorted."""
    kept, aside = split(table)
    able = set(_pairs(kept.trials))
    adaptive = aside.trials[_designs(aside).isin(ADAPTIVE)]
    return sorted(set(_pairs(adaptive)) - able)


def _designs(table: Table) -> "pd.Series[str]":
    if "design" not in table.trials:
        return pd.Series(table.design, index=table.trials.index, dtype="object")
    return table.trials["design"].astype("object").fillna(table.design)


def _design_of_rest(table: Table, designs: "pd.Series[str]") -> Design:
    if table.design not in ADAPTIVE or designs.empty:
        return table.design
    # Of several designs the least structured holds for all.
    return cast("Design", designs.iloc[0] if designs.nunique() == 1 else "random")


def _pairs(trials: pd.DataFrame) -> list[tuple[str, str]]:
    return list(trials[["dataset", "family"]].drop_duplicates().itertuples(index=False, name=None))
