"""Are the error bars of the analysis honest? Coverage, false verdicts, a flat surface, and power, by simulation.

    python benchmarks/honesty.py [--draws 100] [--seeds 3 5 10] [--measures NAME ...] [--acceptance]

Coverage: tables of two families on a grid of 15 cells are drawn again and again, without and with a common effect
of each seed; every 95 % interval of robustness.csv, sensitivity.csv, comparisons.csv, profiles and collapse is held
against the truth, which is what the same functions find on 400 seeds whose noise has mean 0 exactly (for
`choice_regret` and the difference of best settings, which are about choosing on S - 1 seeds, the mean over all draws).
An interval that is not given (NaN) counts neither way.
Scattered: the same with 40 random settings that are drawn anew each time, against the truth of the whole space; what
is about a chosen setting (`best`, `worst_case`, `worst_octave_drop`) against the truth there. Data sets: phi of three.
Arrays: intervals of crossed means and of shares, from arrays that are drawn directly.
A/A: two families with one and the same surface, which was fitted to a simulated table, plus what the runs of a seed
and family share: how often the primary test says better or worse.
Flat: a surface without any shape under noise: do the intervals of V(delta) and phi hold the truth, 1 and 0?
Power: how often the primary test finds a difference of so many standard deviations of a run.

`--measures` keeps the measures whose names begin so. Exit code 1 with `--acceptance` where an interval covers less
than 92 % (means and differences also: more than 98 %), unless its rows say `undercovers`, or where
A/A families are told apart in more than 6 %: in each case by more than chance would have it at 1 % with these draws.
"""

import argparse
import sys
from collections.abc import Sequence

from honesty_checks import (
    CHANCE,
    COMMON,
    EFFECTS,
    LEAST,
    MOST_FALSE,
    Tally,
    array_coverage,
    data_set_coverage,
    false_verdicts,
    flat_rows,
    power,
    scattered_coverage,
    table_coverage,
)
from options import whole_number
from rich.console import Console
from rich.table import Table
from scipy import stats

from analysis.estimation.intervals import UNDERCOVERS

AA_TABLES = 5
"""A/A tables for each table of coverage: they cost little."""


def main() -> int:
    """Print the tables; 1 where `--acceptance` is not met."""
    options, console, tally = _parser().parse_args(), Console(width=140), Tally()
    draws, many = options.draws, AA_TABLES * options.draws
    for seeds in options.seeds:
        for common in COMMON:
            table_coverage(tally, seeds=seeds, common=common, draws=draws)
            array_coverage(tally, seeds=seeds, common=common, draws=draws)
            scattered_coverage(tally, seeds=seeds, common=common, draws=draws)
            data_set_coverage(tally, seeds=seeds, common=common, draws=draws)
    names = sorted({name for name, _, _ in tally.held if name.startswith(tuple(options.measures))})
    console.print(_coverage_table(tally, names, options.seeds))
    failing = [name for name in names if tally.failing(name)]
    unsaid = [name for name in failing if name not in tally.noted and name not in UNDERCOVERS]
    told = {seeds: false_verdicts(seeds=seeds, draws=many) for seeds in options.seeds}
    rows = [[seeds, *shares.values()] for seeds, shares in told.items()]
    console.print(_printed("A/A: better or worse", ["seeds", "mean", "best"], rows))
    flat = [[seeds, *row] for seeds in options.seeds for row in flat_rows(seeds=seeds, draws=draws)]
    console.print(_printed("Flat noisy surface", ["seeds", "measure", "held", "estimate", "plug-in"], flat))
    curve = [[seeds, *power(seeds=seeds, draws=draws)] for seeds in options.seeds]
    console.print(_printed("Power at 5 %", ["seeds", *(f"{effect:g} sd" for effect in EFFECTS)], curve))
    false = [seeds for seeds, v in told.items() if any(_above(share, many) for share in v.values())]
    low = [name for _, name, share, *_ in flat if stats.binom.cdf(round(share * draws), draws, LEAST) < CHANCE]
    console.print(f"too little coverage, or of means too much: {', '.join(failing) or 'none'}")
    console.print(f"of these not noted as such: {', '.join(unsaid) or 'none'}")
    console.print(f"A/A told apart too often: {f'at {false} seeds' if false else 'no'}")
    console.print(f"flat surfaces outside their intervals: {', '.join(low) or 'none'}")
    return int(bool(options.acceptance and (unsaid or false or low)))


def _above(share: float, count: int) -> bool:
    return bool(stats.binom.sf(round(share * count) - 1, count, MOST_FALSE) < CHANCE)


def _coverage_table(tally: Tally, names: Sequence[str], seeds: Sequence[int]) -> Table:
    columns = [(count, common) for count in seeds for common in COMMON]
    heads = [f"{count}{', common' if common == 'yes' else ''}" for count, common in columns]
    rows: list[list[object]] = []
    for name in names:
        failing = tally.failing(name)
        shares = [f"{tally.share((name, *where)):.3f}{' !' if where in failing else ''}" for where in columns]
        rows.append([name, *shares, min(tally.count((name, *where)) for where in columns)])
    return _printed("Coverage of nominal 95 % intervals, by number of seeds", ["measure", *heads, "intervals"], rows)


def _printed(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    printed = Table(*heads, title=title)
    for row in rows:
        printed.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))
    return printed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=whole_number(at_least=2), default=100)
    parser.add_argument("--seeds", nargs="+", type=whole_number(at_least=2), default=[3, 5, 10])
    parser.add_argument("--measures", nargs="+", default=[""])
    parser.add_argument("--acceptance", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
