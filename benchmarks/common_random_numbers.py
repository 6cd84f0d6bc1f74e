"""What common random numbers are worth: the variance of paired differences against that of unpaired ones.

    python benchmarks/common_random_numbers.py [--seeds 20] [--levels 1] [--batch-sizes 16 64 256] [--json FILE]
    python benchmarks/common_random_numbers.py --results DIR [--pairs nt_xent:dhel] [--outcome knn_top1]

Two families a and b at the same batch size and hyperparameters see the same initial weights, batches and views under
each seed. Over seeds,

    ratio = Var(a - b) / (Var(a) + Var(b)),

the denominator being the variance of the difference if their seeds had nothing to do with each other: the mean over
all shifts of b's seeds against a's. 1 is no gain, .5 saves half of the seeds, above 1 pairing does harm. Results come
from a finished folder, or from a part of the quickstart that is swept first. Intervals: 95 % bootstrap percentiles
over seeds. The pooled line of a pair sums numerators and denominators over settings, and draws their seeds together.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from options import whole_number
from quickstart_work import BATCH_SIZES, EPOCHS, FAMILIES, Configuration, configurations, part_of_quickstart
from rich.console import Console
from rich.table import Table

from robustness.store import HYPERPARAMETER_COLUMNS, NUMERIC_OUTCOMES, StoreError, read, read_plan
from robustness.sweep import sweep

Floats = NDArray[np.float64]
Pair = tuple[str, str]

PAIRS: Sequence[Pair] = (("nt_xent", "dhel"), ("nt_xent", "dcl"), ("info_nce", "dhel"), ("kcl_gaussian", "kcl_log"))
FEWEST_SEEDS = 3
NUM_RESAMPLES = 4000
_SETTING = ["dataset", "encoder", "batch_size", "projector_dim", "batch_policy", "learning_rate", "weight_decay"]


@dataclass(frozen=True)
class Pairing:
    """What pairing does for two families in one setting, or in all of them (batch_size None).

    deviations: of the outcome of each family over seeds. low, high: of a 95 % interval of the ratio.
    """

    first: str
    second: str
    batch_size: int | None
    setting: str
    seeds: int
    deviations: tuple[float, float]
    ratio: float
    low: float
    high: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep or read, print the table.

    Returns:
        0, or 2 if the results hold none of what was asked for.
    """
    options = _options(arguments)
    try:
        rows = _swept(options) if options.results is None else _stored(options.results)
    except StoreError as error:
        return _refused(str(error))
    found = [line for pair in options.pairs for line in pairings(rows, pair, options.outcome)]
    if not found:
        wanted = ", ".join(":".join(pair) for pair in options.pairs)
        rule = f"expected at least {FEWEST_SEEDS} seeds that two families have in common at equal settings"
        return _refused(f"{options.results or 'quickstart'}: {rule}, got none for {wanted}")
    Console(width=None if sys.stdout.isatty() else 160).print(_table(found, options.outcome))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(line) for line in found], indent=1) + "\n")
    return 0


def variance_ratio(a: Floats, b: Floats) -> Floats:
    """Var(a - b) / (Var(a) + Var(b)), variances over seeds, both summed over settings.

    Args:
        a, b: outcomes, shape (..., seeds, settings).

    Returns:
        Shape (...); 0 or more; NaN where nothing varies.
    """
    paired = (a - b).var(axis=-2, ddof=1).sum(-1)
    unpaired = (a.var(axis=-2, ddof=1) + b.var(axis=-2, ddof=1)).sum(-1)
    return np.divide(paired, unpaired, out=np.full_like(paired, np.nan), where=unpaired > 0)


def interval(a: Floats, b: Floats) -> tuple[float, float]:
    """95 % bootstrap percentiles of `variance_ratio` over seeds; a, b of shape (seeds, settings)."""
    drawn = np.random.default_rng(0).integers(len(a), size=(NUM_RESAMPLES, len(a)))
    low, high = np.nanpercentile(variance_ratio(a[drawn], b[drawn]), [2.5, 97.5])
    return float(low), float(high)


def pairings(rows: pd.DataFrame, pair: Pair, outcome: str) -> Iterator[Pairing]:
    """A line for each setting with enough seeds of both families, and a pooled one if there are several.

    Args:
        rows: of a store.
    """
    both = _side_by_side(rows, pair, outcome)
    settings = {
        key: group.set_index("seed")[["first", "second"]]
        for key, group in both.groupby(["batch_size", "setting"], sort=False)
        if len(group) >= FEWEST_SEEDS
    }
    for (batch_size, setting), outcomes in settings.items():
        yield _pairing(pair, int(batch_size), setting, outcomes.to_numpy()[:, None, :])
    seeds = sorted(set.intersection(*(set(outcomes.index) for outcomes in settings.values()))) if settings else []
    if len(settings) > 1 and len(seeds) >= FEWEST_SEEDS:
        pooled = np.stack([outcomes.loc[seeds].to_numpy() for outcomes in settings.values()], axis=1)
        yield _pairing(pair, None, f"{len(settings)} settings", pooled)


def _side_by_side(rows: pd.DataFrame, pair: Pair, outcome: str) -> pd.DataFrame:
    """The outcomes `first` and `second` of the pair at equal seeds and settings."""
    well = rows[rows["status"] == "ok"]
    own = [name for name in HYPERPARAMETER_COLUMNS if well.loc[well["family"].isin(pair), name].notna().any()]
    key = ["seed", *_SETTING, *own]
    first, second = (well.loc[well["family"] == name, [*key, outcome]] for name in pair)
    both = first.merge(second, on=key, suffixes=("_first", "_second")).sort_values([*_SETTING, *own, "seed"])
    setting = both[own].apply(lambda row: ", ".join(f"{name} {value:.6g}" for name, value in row.dropna().items()), 1)
    return pd.DataFrame(
        {
            "seed": both["seed"],
            "batch_size": both["batch_size"],
            "setting": setting,
            "first": both[f"{outcome}_first"],
            "second": both[f"{outcome}_second"],
        }
    ).dropna()


def _pairing(pair: Pair, batch_size: int | None, setting: str, outcomes: Floats) -> Pairing:
    """The line of outcomes of shape (seeds, settings, 2)."""
    a, b = outcomes[..., 0], outcomes[..., 1]
    first, second = (float(np.sqrt(side.var(axis=0, ddof=1).mean())) for side in (a, b))
    low, high = interval(a, b)
    return Pairing(*pair, batch_size, setting, len(a), (first, second), float(variance_ratio(a, b)), low, high)


def _stored(folder: Path) -> pd.DataFrame:
    read_plan(folder)
    return read(folder)


def _swept(options: argparse.Namespace) -> pd.DataFrame:
    families = tuple(dict.fromkeys(family for pair in options.pairs for family in pair))
    study = part_of_quickstart(
        [each for family in families for each in _middle(configurations([family]), options.levels)],
        batch_sizes=options.batch_sizes,
        seeds=range(options.seeds),
        epochs=options.epochs,
    )
    with tempfile.TemporaryDirectory() as folder:
        sweep(study, Path(folder))
        return read(Path(folder))


def _middle(levels: Sequence[Configuration], count: int) -> Sequence[Configuration]:
    start = max(0, (len(levels) - count) // 2)
    return levels[start : start + count]


def _table(found: Sequence[Pairing], outcome: str) -> Table:
    table = Table("a", "b", title=f"{outcome}: variance of paired over unpaired differences", box=None)
    for heading in ("batch size", "setting", "seeds", "sd a", "sd b", "ratio", "95 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in found:
        size = "all" if line.batch_size is None else str(line.batch_size)
        deviations = (f"{deviation:.4f}" for deviation in line.deviations)
        span = f"{line.low:.2f} .. {line.high:.2f}"
        table.add_row(
            line.first, line.second, size, line.setting, str(line.seeds), *deviations, f"{line.ratio:.2f}", span
        )
    return table


def _refused(line: str) -> int:
    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False)
    return 2


def _pair(text: str) -> Pair:
    first, separator, second = text.partition(":")
    if not separator or not first or not second or first == second:
        raise argparse.ArgumentTypeError(f"expected two families as FIRST:SECOND, got {text}")
    return first, second


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = {family for pair in options.pairs for family in pair} - set(FAMILIES)
    if options.results is None and unknown:
        parser.error(f"--pairs: expected families of the quickstart ({', '.join(FAMILIES)}), got {min(unknown)}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="common_random_numbers.py", description="What paired seeds are worth.")
    positive = whole_number(at_least=1)
    parser.add_argument("--results", type=Path, metavar="DIR", help="a finished folder; default: sweep first")
    parser.add_argument("--pairs", nargs="+", type=_pair, default=PAIRS, metavar="A:B", help="labels of families")
    parser.add_argument("--outcome", choices=NUMERIC_OUTCOMES, default="linear_top1", metavar="COLUMN")
    parser.add_argument("--seeds", type=whole_number(at_least=FEWEST_SEEDS), default=20, help="to sweep; default: 20")
    parser.add_argument("--batch-sizes", nargs="+", type=int, choices=BATCH_SIZES, default=BATCH_SIZES)
    parser.add_argument("--levels", type=positive, default=1, help="of the quickstart's, from the middle; default: 1")
    parser.add_argument("--epochs", type=positive, default=EPOCHS, help="fewer for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
