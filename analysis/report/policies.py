"""The table of batch policies on the page."""

from analysis.labels import level, quantity
from analysis.report.facts import Grid
from analysis.report.numbers import with_interval
from analysis.report.results import Results


def policy_grid(results: Results) -> Grid:
    """A row a family and policy against the usual one; no rows where no policies were compared."""
    rows = results.policies
    if rows.empty:
        return Grid([], [])
    shown = quantity(str(rows["outcome"].iloc[0]))
    lines = []
    for (family, policy), both in rows.groupby(["family", "policy"], sort=False):
        found = {row["at_equal"]: row for row in both.to_dict("records")}
        texts = [with_interval(found[equal], shown.number) for equal in ("updates", "time")]
        first = both.iloc[0]
        notes = "; ".join(dict.fromkeys(note for note in both["reason"] if note))
        lines.append([
            str(family), str(policy), *texts, f"{first['updates']:,.0f}", level(first["seconds"]),
            f"{first['n_configs']:,}", notes,
        ])  # fmt: skip
    unit = f", {shown.difference_unit}" if shown.difference_unit else ""
    equal = [f"{shown.label} at equal {equal}{unit}" for equal in ("updates", "time")]
    return Grid(["family", "policy", *equal, "updates", "seconds", "settings", "note"], lines)
