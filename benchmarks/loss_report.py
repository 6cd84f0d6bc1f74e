"""The results of `losses.py` as a table, as records, and beside their targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from loss_timing import Row
from rich.table import Table

# Columns of PEERS and their headings.
PEER_HEADINGS: Mapping[str, str] = {
    "lightly": "lightly",
    "pml": "p-m-l",
    "pml_supcon": "p-m-l SupCon",
    "plain": "torch",
}
# Released code of the two losses' authors against lightly's NTXentLoss, one core, M = 4096: milliseconds measured once
# (729 and 733 against 2530), since that code is not at hand here. Half of it is the target.
HALF_OF_RELEASED: Mapping[str, float] = {"dhel": 729 / 2530 / 2, "kcl_gaussian": 733 / 2530 / 2}
TARGET_SPEEDUPS: Sequence[tuple[str, int, float]] = (
    ("nt_xent", 256, 2.0),
    ("nt_xent", 1024, 2.5),
    ("nt_xent", 4096, 3.5),
    ("dcl", 1024, 4.0),
)
TARGET_FLOOR_SHARE = 0.8
FLOOR_FAMILIES = ("nt_xent", "dcl", "dhel", "kcl_gaussian")
TARGET_SIZE = 4096
MEMORY_SIZE, TARGET_MEMORY_RATIO = 8192, 0.1
LARGE_SIZE, TARGET_LARGE_BYTES = 65_536, 1.5e9


@dataclass(frozen=True)
class Target:
    """One acceptance line: what is asked, and what was measured (NaN: not measured)."""

    text: str
    measured: float
    bound: float
    at_least: bool

    @property
    def verdict(self) -> str:
        """`held`, `not held` or `not measured`."""
        if isnan(self.measured):
            return "not measured"
        held = self.measured >= self.bound if self.at_least else self.measured <= self.bound
        return "held" if held else "not held"


def record(row: Row) -> dict[str, str | float | None]:
    """One row flat, for JSON and CSV: milliseconds, ratios (peer / ours), bytes; None where there is no figure."""
    cells: dict[str, str | float | None] = {"family": row.family, "size": row.size, "repeats": row.repeats}
    for name in ("ours", "floor", *PEER_HEADINGS, "lightly_nt_xent"):
        cells[f"{name}_ms"] = row.milliseconds.get(name)
    cells["floor_share"] = _known(row.ratio("floor"))
    for name in (*PEER_HEADINGS, "lightly_nt_xent"):
        cells[f"{name}_ratio"] = _known(row.ratio(name))
    for name in ("ours", "plain"):
        cells[f"{name}_peak_bytes"] = _known(row.peak_bytes.get(name, float("nan")))
    cells["memory_ratio"] = _known(row.memory_ratio())
    cells["missing"] = "; ".join(f"{name}: {reason}" for name, reason in row.missing.items())
    return cells


def results_table(rows: Sequence[Row]) -> Table:
    """Every row; a peer that no row has gets no columns."""
    seen = [name for name in PEER_HEADINGS if any(name in row.milliseconds or name in row.missing for row in rows)]
    table = Table("family", "M", "ours ms", "floor ms", "floor share", box=None)
    for name in seen:
        table.add_column(f"{PEER_HEADINGS[name]} ms")
        table.add_column("ratio")
    for heading in ("ours MB", "torch MB", "ratio"):
        table.add_column(heading)
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for row in rows:
        times = [_milliseconds(row, "ours"), _milliseconds(row, "floor"), _number(row.ratio("floor"))]
        peers = [cell for name in seen for cell in (_milliseconds(row, name), _number(row.ratio(name)))]
        memory = [_megabytes(row, "ours"), _megabytes(row, "plain"), _number(row.memory_ratio())]
        table.add_row(row.family, f"{row.size:,}", *times, *peers, *memory)
    return table


def missing_lines(rows: Sequence[Row]) -> list[str]:
    """Why a peer has no time, a line each."""
    return [
        f"{row.family}, M = {row.size:,}: {PEER_HEADINGS.get(name, name)} {reason}"
        for row in rows
        for name, reason in row.missing.items()
    ]


def targets(rows: Sequence[Row], large_peaks: Mapping[str, float]) -> list[Target]:
    """The acceptance lines of this run.

    Args:
        large_peaks: peak bytes of nt_xent: `ours`, `plain` at MEMORY_SIZE, `large` (ours) at LARGE_SIZE; or {}.
    """
    found = {(row.family, row.size): row for row in rows}
    lines = [
        Target(f"{family} against lightly, M = {size:,}: at least", _ratio(found, family, size, "lightly"), bound, True)
        for family, size, bound in TARGET_SPEEDUPS
    ]
    for family, bound in HALF_OF_RELEASED.items():
        share = 1 / _ratio(found, family, TARGET_SIZE, "lightly_nt_xent")
        lines.append(Target(f"{family} over lightly NTXentLoss, M = {TARGET_SIZE:,}: at most", share, bound, False))
    for family in FLOOR_FAMILIES:
        share = _ratio(found, family, TARGET_SIZE, "floor")
        lines.append(
            Target(f"{family}, share of the floor, M = {TARGET_SIZE:,}: at least", share, TARGET_FLOOR_SHARE, True)
        )
    unknown = float("nan")
    small = large_peaks.get("ours", unknown) / large_peaks.get("plain", unknown)
    large = large_peaks.get("large", unknown) / 1e9
    lines.append(Target(f"nt_xent, memory over torch, M = {MEMORY_SIZE:,}: at most", small, TARGET_MEMORY_RATIO, False))
    lines.append(Target(f"nt_xent, peak GB, M = {LARGE_SIZE:,}: at most", large, TARGET_LARGE_BYTES / 1e9, False))
    return lines


def targets_table(lines: Sequence[Target]) -> Table:
    """Target, bound, measured, verdict."""
    table = Table("target", "bound", "measured", "", box=None)
    for line in lines:
        table.add_row(line.text, f"{line.bound:.3g}", _number(line.measured), line.verdict)
    return table


def _ratio(found: Mapping[tuple[str, int], Row], family: str, size: int, contender: str) -> float:
    row = found.get((family, size))
    return float("nan") if row is None else row.ratio(contender)


def _known(value: float) -> float | None:
    return None if isnan(value) else value


def _number(value: float) -> str:
    return "-" if isnan(value) else f"{value:.2f}" if value >= 0.2 else f"{value:.3f}"


def _milliseconds(row: Row, name: str) -> str:
    value = row.milliseconds.get(name)
    return (
        "-" if value is None else f"{value:,.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    )


def _megabytes(row: Row, name: str) -> str:
    value = row.peak_bytes.get(name, float("nan"))
    return "-" if isnan(value) else f"{value / 1e6:,.0f}"
