"""The tables beside the page, a file each; of several studies all in one, with a column that names the study."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.comparison.transfer import COLUMNS as TRANSFER_COLUMNS
from analysis.comparison.transfer import transfer_between
from analysis.labels import level
from analysis.report.results import Results, compute
from analysis.surfaces import COLUMNS as SURFACE_COLUMNS
from analysis.table import Table
from analysis.table.names import illegible_names, renamed, renamed_rows

_WHAT = {
    "robustness": "every measure of every family, with intervals and reasons",
    "scorecard": "the scorecard, wide",
    "comparisons": "every family against the reference, paired",
    "sensitivity": "how much of the variance each axis explains",
    "transfer": "whether settings keep their ranks on other data sets and with other families, and what moving costs",
    "policies": "batch policies against the usual one, at equal updates and at equal time",
    "near_optimal_mass": "near-optimal mass over the tolerance",
    "profiles": "the outcome along one axis at a time",
    "surfaces": "every surface, a row a point",
}


@dataclass(frozen=True)
class Group:
    """What was computed from studies that are pooled, or from one table.

    Args:
        name: tells it from other groups.
        renamed: names that a page can't show -> how the results name them.
    """

    name: str
    results: Results
    renamed: Mapping[str, str]


def group_of(name: str, table: Table, *, history: pd.DataFrame | None = None) -> Group:
    """Compute every number, under names that a page can show."""
    names = illegible_names(table)
    epochs = None if history is None else renamed_rows(history, names)
    return Group(name, compute(renamed(table, names), history=epochs), names)


def transfers(groups: Sequence[Group]) -> pd.DataFrame:
    """The rows of transfer.csv with `study` and `other_study`: within each group, then between any two."""
    frames = [group.results.transfer.assign(study=group.name, other_study=group.name) for group in groups]
    for one, other in itertools.combinations(groups, 2):
        rows = transfer_between(one.results.table, other.results.table)
        turned = rows["is_reversed"].astype(bool)
        rows["study"] = turned.map({False: one.name, True: other.name})
        rows["other_study"] = turned.map({False: other.name, True: one.name})
        frames.append(rows)
    every = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    return every[["study", "other_study", *TRANSFER_COLUMNS]]


def write_tables(groups: Sequence[Group], moved: pd.DataFrame, folder: Path, *, several: bool) -> list[tuple[str, str]]:
    """Write every table as CSV, surfaces as Parquet too.

    Args:
        moved: as `transfers` gives them.
        several: whether several studies were given: then every table begins with the column `study`.

    Returns:
        Each file's name with what it holds.
    """

    def joined(name: str) -> pd.DataFrame:
        frames = [(group.name, _frame(group.results, name)) for group in groups]
        named = [frame.assign(study=study)[["study", *frame]] for study, frame in frames if len(frame)]
        every = pd.concat(named, ignore_index=True) if named else frames[0][1].assign(study="")
        return every if several else every.drop(columns="study")

    compared = any(len(group.results.policies) for group in groups)
    what = {name: text for name, text in _WHAT.items() if name != "policies" or compared}
    for name in what:
        frame = joined(name) if name != "transfer" else moved if several else moved[list(TRANSFER_COLUMNS)]
        if name == "surfaces":
            frame = _one_kind_of_place(frame)
            frame.to_parquet(folder / "surfaces.parquet", index=False)
        frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    named = [(f"{name}.csv", text) for name, text in what.items()]
    return [*named, ("surfaces.parquet", "the same as Parquet"), *_write_names(groups, folder)]


def _write_names(groups: Sequence[Group], folder: Path) -> list[tuple[str, str]]:
    """The whole names behind those that are shown otherwise; no file where there are none."""
    whole = sorted({(shown, name) for group in groups for name, shown in group.renamed.items()})
    path = folder / "names.csv"
    if not whole:
        path.unlink(missing_ok=True)
        return []
    pd.DataFrame(whole, columns=["shown", "name"]).to_csv(path, index=False, lineterminator="\n")
    return [(path.name, "the whole of names that are too long to show, or hold characters that are no text")]


def _frame(results: Results, name: str) -> pd.DataFrame:
    frames = {
        "robustness": results.measures, "scorecard": results.scorecard, "comparisons": results.comparisons,
        "sensitivity": results.sensitivity, "near_optimal_mass": results.curve, "profiles": results.profiles,
        "policies": results.policies,
    }  # fmt: skip
    return _surfaces(results) if name == "surfaces" else frames[name]


def _surfaces(results: Results) -> pd.DataFrame:
    frames = [frame.drop(columns=["seed_sd", "num_failed"]) for frame in results.surfaces.values() if len(frame)]
    if frames:
        return pd.concat(frames, ignore_index=True)
    return pd.DataFrame(columns=[name for name in SURFACE_COLUMNS if name not in ("seed_sd", "num_failed")])


def _one_kind_of_place(surfaces: pd.DataFrame) -> pd.DataFrame:
    """Where an axis has categories, places of all axes are text."""
    for end in ("x", "y") if len(surfaces) else ():
        if any(isinstance(value, str) for value in surfaces[end]):
            surfaces[end] = surfaces[end].map(lambda value: "" if pd.isna(value) else level(value)).astype("str")
        else:
            surfaces[end] = surfaces[end].astype(float)
    return surfaces
