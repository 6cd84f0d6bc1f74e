"""What an interval of a difference says: better, worse, near enough, or not known yet."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from analysis.labels import counted

VERDICTS = ("better", "non-inferior", "equivalent", "undecided", "worse")

FEWEST_PAIRS, FEWEST_SEEDS = 6, 3
"""With fewer pairs or seeds nothing is said."""

MOST_SEEDS = 1000
"""More seeds than this are not asked for."""


@dataclass(frozen=True)
class TTest:
    """A t test of a mean difference, larger being better.

    Args:
        mean: the difference.
        error: its standard error.
        df: degrees of freedom of `error`.
        seeds: S, on which it rests.
        lasting: the part of error^2 that more seeds would not lower: that of sampled configurations.
    """

    mean: float
    error: float
    df: float
    seeds: int
    lasting: float = 0.0

    def half_width(self, confidence: float) -> float:
        """Of the two-sided interval at this confidence."""
        return float(_half_width(self.error, self.df, confidence))

    @property
    def p(self) -> float:
        """Two-sided p of no difference."""
        if self.error > 0:
            return float(2 * stats.t.sf(abs(self.mean) / self.error, self.df))
        return float(self.mean == 0)


def decided(test: TTest, *, margin: float) -> str | None:
    """The verdict, in this order; None where there is none.

        90 % interval inside +-margin: equivalent        95 % interval above 0: better, below 0: worse
        95 % interval above -margin: non-inferior

    Args:
        margin: what counts as equal, in the outcome's unit.

    Source:
        Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987 (two one-sided tests).
    """
    equivalent, clear, near = _holding(test.mean, test.error, test.df, margin)
    if equivalent:
        return "equivalent"
    if clear:
        return "better" if test.mean > 0 else "worse"
    return "non-inferior" if near else None


def verdict(test: TTest, *, margin: float) -> tuple[str, str]:
    """The verdict, and for `undecided` how many more seeds would decide it if nothing else changed."""
    found = decided(test, margin=margin)
    if found is not None:
        return found, ""
    seeds = np.arange(test.seeds + 1, MOST_SEEDS)
    error = np.sqrt(test.lasting + (test.error**2 - test.lasting) * test.seeds / seeds)
    deciding = seeds[np.any(_holding(test.mean, error, test.df + seeds - test.seeds, margin), axis=0)]
    if len(deciding):
        return "undecided", f"about {counted(int(deciding[0]) - test.seeds, 'more seed')} would decide it"
    return "undecided", f"{MOST_SEEDS} seeds would not decide it"


def _holding(mean: float, error: Any, df: Any, margin: float) -> tuple[Any, Any, Any]:
    """Whether the difference is surely within the margin, surely not 0, and surely not worse by the margin."""
    half = _half_width(error, df, 0.95)
    return abs(mean) + _half_width(error, df, 0.90) < margin, abs(mean) > half, mean - half > -margin


def _half_width(error: Any, df: Any, confidence: float) -> Any:
    return stats.t.ppf(0.5 + confidence / 2, df) * error


def adjusted(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with Holm's adjusted p: the k-th smallest of m times m - k + 1, never below a smaller one's.

    Args:
        rows: with a `p`, of one measure; NaN where there is none, and then NaN adjusted.

    Source:
        Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    given = [dict(row) | {"p_adjusted": math.nan} for row in rows]
    known = sorted((row for row in given if math.isfinite(row["p"])), key=lambda row: float(row["p"]))
    largest = 0.0
    for rank, row in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * row["p"]))
        row["p_adjusted"] = largest
    return given
