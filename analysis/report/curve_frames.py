"""The curves of one data set: near-optimal mass, one-axis profiles, training over epochs."""

import math
from collections.abc import Iterator

import pandas as pd

from analysis.figures import epoch_figure, profile_figure, tolerance_figure
from analysis.labels import level, listed, quantity, share, words
from analysis.report.epochs import over_epochs
from analysis.report.frame import Frame, file_stem
from analysis.report.results import NEAREST_NEIGHBOURS, RANK, Results, untrained_level
from analysis.table import Axis

_WIDEST = 3
"""How many times the largest tolerance the drawn curves reach; the table has all of them."""


def curve_frames(results: Results, dataset: str) -> Iterator[Frame]:
    """Every figure of curves that the report shows, where there is anything to show."""
    yield from _mass(results)
    for name, is_shared in (("own", False), ("shared", True)):
        panels = [
            (family, axis)
            for family, axes in results.table.axes.items()
            for axis in axes
            if (axis.name in results.table.shared) == is_shared and _has_rows(results.profiles, family, axis)
        ]
        if panels:
            yield _profile(results, dataset, name, panels)
    # Linear probes are fitted at the end only; nearest neighbours follow accuracy on the way.
    outcomes = dict.fromkeys([results.table.outcome, NEAREST_NEIGHBOURS, RANK])
    for outcome in outcomes:
        yield from _epochs(results, dataset, outcome)


def _mass(results: Results) -> Iterator[Frame]:
    table, shown = results.table, quantity(results.table.outcome)
    curve = results.curve[results.curve["reference"] == "common"].dropna(subset=["estimate"])
    curve = curve[curve["tolerance"] <= _WIDEST * max(table.tolerances)]
    if curve.empty:
        return
    families = [family for family in table.axes if family in set(curve["family"])]
    middle = results.middle_tolerance
    rows = results.measures
    rows = rows[(rows["measure"] == "near_optimal_mass") & (rows["reference"] == "common")]
    rows = rows[(rows["tolerance"] - middle).abs() < 1e-12]
    shares = [f"{row['family']} {_share(row)}" for _, row in rows.iterrows()]
    yield Frame(
        section="mass",
        name="near_optimal_mass",
        title="Near-optimal mass over the tolerance",
        caption=(
            f"Share of a family's settings whose expected {shown.label} lies within the tolerance of the "
            "best that any family reaches: the further up and to the left, the less tuning matters. Bands "
            "are conservative 95 % intervals; dotted lines mark the declared tolerances."
        ),
        description=f"Within {shown.difference(middle)} of the common best: {'; '.join(shares)}.",
        figure=tolerance_figure(curve, families=families, tolerances=table.tolerances, quantity=shown),
    )


def _profile(results: Results, dataset: str, name: str, panels: list[tuple[str, Axis]]) -> Frame:
    table, shown = results.table, quantity(results.table.outcome)
    untrained = untrained_level(table, dataset, table.outcome)
    axes = listed(list(dict.fromkeys(words(axis.name) for _, axis in panels)))
    return Frame(
        section="profiles",
        name=f"{file_stem(table.outcome)}_profiles_{name}",
        title=f"Profiles of {shown.label} along {axes}",
        caption=(
            f"{shown.label.capitalize()} along {axes}, averaged over the other axes, with 95 % intervals of "
            "the noise over seeds. All panels share one scale; failed trials count at the floor. An average "
            "over bad settings can hide that the best of them do not depend on this axis."
        ),
        description=" ".join(_profile_text(results, family, axis) for family, axis in panels),
        figure=profile_figure(
            results.profiles, panels=panels, families=list(table.axes), quantity=shown, untrained=untrained
        ),
    )


def _profile_text(results: Results, family: str, axis: Axis) -> str:
    shown = quantity(results.table.outcome)
    rows = _rows(results.profiles, family, axis).dropna(subset=["estimate"]).sort_values("estimate")
    low, high = rows.iloc[0], rows.iloc[-1]
    text = f"{family}: {shown.text(low['estimate'])} at {words(axis.name)} {level(low['value'])}"
    return f"{text}, {shown.text(high['estimate'])} at {level(high['value'])}."


def _epochs(results: Results, dataset: str, outcome: str) -> Iterator[Frame]:
    frame = over_epochs(results.history, outcome)
    if frame.empty:
        return
    table, shown = results.table, quantity(outcome)
    families = [family for family in table.axes if family in set(frame["family"])]
    last = frame.loc[frame.groupby("family")["epoch"].idxmax()]
    ends = "; ".join(
        f"{row['family']} {shown.text(row['estimate'])} at epoch {level(row['epoch'])}" for _, row in last.iterrows()
    )
    yield Frame(
        section="epochs",
        name=f"{outcome}_over_epochs",
        title=f"{shown.label.capitalize()} over epochs",
        caption=(
            f"{shown.label.capitalize()} while training: mean over all settings and seeds that ended well, "
            "and the range that holds the middle 80 % of them (a range of trials, not an interval of the "
            "mean). Only epochs at which every batch size was evaluated."
        ),
        description=f"Mean at the last epoch shown: {ends}.",
        figure=epoch_figure(
            frame, families=families, quantity=shown, untrained=untrained_level(table, dataset, outcome)
        ),
    )


def _rows(profiles: pd.DataFrame, family: str, axis: Axis) -> pd.DataFrame:
    return profiles[(profiles["family"] == family) & (profiles["axis"] == axis.name)]


def _has_rows(profiles: pd.DataFrame, family: str, axis: Axis) -> bool:
    return bool(_rows(profiles, family, axis)["estimate"].notna().any())


def _share(row: "pd.Series[float]") -> str:
    low, high = row["low"], row["high"]
    interval = "no interval" if math.isnan(low) else f"{share(low)} to {share(high)}"
    return f"{share(row['estimate'])} ({interval})"
