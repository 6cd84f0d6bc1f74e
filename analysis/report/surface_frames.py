"""The surfaces of one data set: the outcome, the effective rank, failures."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.estimation.cells import FAILED, cells
from analysis.figures import Marks, Plane, surface_figure
from analysis.labels import Quantity, level, quantity, words
from analysis.report.frame import Frame, file_stem
from analysis.report.results import Results, untrained_level
from analysis.surfaces import plane
from analysis.table import Table

_OTHERS = {"mean": "averaged over the other axes", "best": "other axes at the family's best"}
_NOT_JUDGED = Marks(untrained=None, minimize=False, judge=False, chosen={})


def surface_frames(results: Results, dataset: str) -> Iterator[Frame]:
    """Every surface that the report shows, where there is anything to show."""
    for outcome, surface in results.surfaces.items():
        if not surface["estimate"].notna().any():
            continue
        if outcome == FAILED:
            yield _failures(results.table, dataset, _version(surface, "mean"))
            continue
        versions = ["mean", "best"] if (surface["others"] == "best").any() else ["mean"]
        for version in versions:
            note = f" ({_OTHERS[version]})" if len(versions) > 1 else ""
            yield _outcome(results, dataset, outcome, _version(surface, version), version, note)
        if outcome == results.table.outcome and not _is_cells(surface).all():
            note = f" ({_OTHERS['mean']})" if len(versions) > 1 else ""
            yield _uncertainty(results.table, dataset, _version(surface, "mean"), note)


def planes(table: Table) -> dict[str, Plane]:
    """The axes of every family's panel."""
    found = {
        family: plane(tuple(axis for axis in axes if axis.varies), shared=table.shared)
        for family, axes in table.axes.items()
    }
    return {family: Plane(None, None) if two is None else Plane(two.x, two.y) for family, two in found.items()}


def _outcome(results: Results, dataset: str, outcome: str, surface: pd.DataFrame, version: str, note: str) -> Frame:
    table = results.table
    shown, untrained = quantity(outcome), untrained_level(table, dataset, outcome)
    is_main = outcome == table.outcome
    minimize = table.direction_of(outcome) == "minimize"
    chosen = _chosen_places(results, dataset) if is_main else {}
    level_of = None if untrained is None else untrained.estimate
    marks = Marks(level_of, minimize=minimize, judge=is_main, chosen=chosen)
    figure = surface_figure(
        surface, planes=planes(table), points=_points(table, dataset), quantity=shown, marks=marks,
        colours="viridis" if is_main else "cividis",
    )  # fmt: skip
    lead = f"{shown.label.capitalize()}{note}; all panels share one scale of colour."
    return Frame(
        section="surfaces" if is_main else "rank",
        name=f"{file_stem(outcome)}_surfaces" + ("_at_best" if version == "best" else ""),
        title=f"Surfaces of {shown.label}{note}",
        caption=" ".join([lead, *_how_to_read(table, dataset, outcome, surface)]),
        description=_extremes(surface, shown, minimize=minimize),
        figure=figure,
    )


def _uncertainty(table: Table, dataset: str, surface: pd.DataFrame, note: str) -> Frame:
    outcome = quantity(table.outcome)
    shown = replace(outcome, label=f"standard error of {outcome.label}", unit=outcome.difference_unit, digits=2)
    errors = surface.assign(estimate=surface["standard_error"], seed_sd=math.nan, num_failed=0.0)
    points = _points(table, dataset)
    return Frame(
        section="surfaces",
        name=f"{file_stem(table.outcome)}_surfaces_uncertainty",
        title=f"Surfaces of the {shown.label}",
        caption=f"Standard error of the surface{note}, in {shown.unit or 'its own unit'}: dark is certain.",
        description=_extremes(errors, shown, minimize=True),
        figure=surface_figure(
            errors, planes=planes(table), points=points, quantity=shown, marks=_NOT_JUDGED, colours="cividis"
        ),
    )


def _failures(table: Table, dataset: str, surface: pd.DataFrame) -> Frame:
    shown = quantity(FAILED)
    shares = surface.assign(seed_sd=math.nan, num_failed=0.0)
    figure = surface_figure(
        shares, planes=planes(table), points=_points(table, dataset), quantity=shown, marks=_NOT_JUDGED,
        colours="cividis", limits=(0.0, 1.0),
    )  # fmt: skip
    return Frame(
        section="failures",
        name="failure_surfaces",
        title="Surfaces of the share of failed trials",
        caption="Share of the trials of each setting that failed: its seeds on a grid, else a model's mean.",
        description=_extremes(shares, shown, minimize=True),
        figure=figure,
    )


def _chosen_places(results: Results, dataset: str) -> dict[str, tuple[Any, Any]]:
    """Family -> where the setting chosen on all seeds stands in its panel."""
    found = {}
    for family, two in planes(results.table).items():
        values = results.chosen.get((dataset, family))
        if values:
            x, y = (math.nan if axis is None else values[axis.name] for axis in (two.x, two.y))
            found[family] = (x, y)
    return found


def _is_cells(surface: pd.DataFrame) -> "pd.Series[bool]":
    return surface["method"].str.startswith("cell")


def _version(surface: pd.DataFrame, version: str) -> pd.DataFrame:
    """The rows of one treatment of the other axes; families without other axes have only `mean`."""
    has_best = set(surface.loc[surface["others"] == "best", "family"])
    wanted = surface["family"].isin(has_best) & (version == "best")
    return surface[(surface["others"] == "best") == wanted]


def _how_to_read(table: Table, dataset: str, outcome: str, surface: pd.DataFrame) -> Iterator[str]:
    if _is_cells(surface).any():
        yield (
            "Each number is a mean over seeds, the small one the standard deviation over seeds (or n, where "
            "trials are missing). Cells are equally large because all settings have the same weight."
        )
    fitted = surface[~_is_cells(surface)].drop_duplicates("family")
    if len(fitted):
        methods = "; ".join(
            f"{row.family}: {str(row.method).removeprefix('gaussian process, ')}" for row in fitted.itertuples()
        )
        yield f"Colour is a Gaussian process's mean between the sampled configurations (dots). {methods}."
    if outcome == table.outcome:
        yield (
            f"Framed or starred is the setting chosen on all seeds{_chosen_on(table, dataset)}: another may have a "
            "higher mean here."
        )
        if untrained_level(table, dataset, outcome) is not None:
            yield "Settings are marked as no better than untrained by their means alone."
    if (surface["num_failed"] > 0).any():
        floor = quantity(outcome).text(table.floor_of(dataset, outcome))
        what = "" if outcome == table.outcome else " (the worst value seen)"
        yield f"Failed trials count as {floor}{what}; cells with failures do not stretch the scale."


def _chosen_on(table: Table, dataset: str) -> str:
    """By what the setting was chosen, where it is not the outcome that is shown."""
    column = table.selection_of(dataset, table.outcome)
    return "" if column == table.outcome else f" by {quantity(column).label}"


def _points(table: Table, dataset: str) -> pd.DataFrame:
    """The sampled configurations of every family on the two axes of its panel."""
    parts = []
    for family, two in planes(table).items():
        found = None if two.is_grid else cells(table, dataset, family, table.outcome)
        if found is not None:
            ends = {"x": two.x, "y": two.y}
            columns = {end: math.nan if axis is None else found.settings[axis.name] for end, axis in ends.items()}
            parts.append(pd.DataFrame({**columns, "family": family}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["family", "x", "y"])


def _extremes(surface: pd.DataFrame, shown: Quantity, *, minimize: bool) -> str:
    """Best and worst place of every family, in words."""
    sentences = []
    for family, rows in surface.dropna(subset=["estimate"]).groupby("family", sort=False):
        ordered = rows.sort_values("estimate", ascending=minimize, kind="stable")
        first, last = ordered.iloc[0], ordered.iloc[-1]
        text = f"{family}: from {shown.text(first['estimate'])}{_place(first)}"
        sentences.append(f"{text} to {shown.text(last['estimate'])}{_place(last)}.")
    return " ".join([f"{shown.label.capitalize()}, best to worst.", *sentences])


def _place(row: "pd.Series[float]") -> str:
    ends = [(row["x_axis"], row["x"]), (row["y_axis"], row["y"])]
    named = [f"{words(str(name))} {level(value)}" for name, value in ends if name]
    return f" at {', '.join(named)}" if named else ""
