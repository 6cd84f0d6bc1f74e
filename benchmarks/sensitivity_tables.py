"""Sensitivity from 256 random configurations of a full factorial of 30,000, against its exact indices.

Each draw takes configurations of a public table (`hpobench_*.parquet`), all five seeds of each, hides
that they are levels of a grid, and asks `analysis.sensitivity.indices`. Printed for every table and axis: the exact
total-order index without noise, the mean and the largest difference from it, and how often the 95 % interval holds it.

    python benchmarks/sensitivity_tables.py --tables FOLDER --draws 100
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from options import whole_number

from analysis.estimation.cells import cells
from analysis.sensitivity import indices
from analysis.sensitivity.anova import factorial
from analysis.sensitivity.grid_indices import grid_indices
from analysis.table import Axis, Table

NAMES = ("car", "kc1", "segment")
AXES = ("alpha", "batch_size", "depth", "learning_rate_init", "width")
OUTCOME, FAMILY = "val_acc", "mlp"
LARGEST_DIFFERENCE, LEAST_COVERAGE = 0.10, 0.88


def as_table(trials: pd.DataFrame, design: str) -> Table:
    """One family with the axes of the benchmark; levels are evenly spaced numbers."""
    levels = {name: tuple(range(3 if name == "depth" else 10)) for name in AXES}
    axes = tuple(Axis(name, "linear", found, 0.0, float(found[-1])) for name, found in levels.items())
    return Table(
        name="hpobench", trials=trials.assign(dataset="hpobench", family=FAMILY, status="ok"), baseline=pd.DataFrame(),
        axes={FAMILY: axes}, shared=AXES, outcome=OUTCOME, selection=None, direction="maximize",
        floor=0.0, reference=None, tolerances=(0.01,), equivalence=0.01, design=design, num_planned=len(trials),
    )  # fmt: skip


def exact(trials: pd.DataFrame) -> pd.Series:
    """Total-order indices of the whole factorial, noise taken out, by axis."""
    grid = factorial(cells(as_table(trials, "grid"), "hpobench", FAMILY, OUTCOME))
    assert grid is not None
    found = {axis: one.estimate for measure, axis, one in grid_indices(grid, seed=0) if measure == "ST_corrected"}
    return pd.Series(found).loc[list(AXES)]


def drawn(trials: pd.DataFrame, configurations: int, seed: int) -> pd.DataFrame:
    """Total-order indices from a random sample of the configurations: estimate, low and high by axis."""
    whole = trials[list(AXES)].drop_duplicates().sort_values(list(AXES))
    kept = whole.sample(configurations, random_state=seed)
    found = indices(as_table(trials.merge(kept, on=list(AXES)), "random"), seed=seed)
    return found[found["measure"] == "ST_corrected"].set_index("axis").loc[list(AXES), ["estimate", "low", "high"]]


def compare(name: str, path: Path, draws: int, configurations: int) -> bool:
    """Print a table's figures; whether they are as wished."""
    trials = pd.read_parquet(path)
    truth = exact(trials)
    samples = [drawn(trials, configurations, seed) for seed in range(draws)]
    estimates, low, high = (np.array([sample[column] for sample in samples]) for column in ("estimate", "low", "high"))
    differences = np.abs(estimates - truth.to_numpy())
    covered = ((low <= truth.to_numpy()) & (truth.to_numpy() <= high)).mean(axis=0)
    within = (differences <= LARGEST_DIFFERENCE).mean(axis=0)
    print(f"{'table':<8} {'axis':<20} {'exact ST':>8} {'mean diff':>9} {'largest':>8} {'<= .10':>7} {'covered':>8}")
    for place, axis in enumerate(AXES):
        bias = estimates[:, place].mean() - truth.iloc[place]
        print(
            f"{name:<8} {axis:<20} {truth.iloc[place]:8.3f} {bias:9.3f} {differences[:, place].max():8.3f} "
            f"{within[place]:7.2f} {covered[place]:8.2f}"
        )
    print(f"{name}: all axes covered {covered.mean():.2f} of {draws} draws", flush=True)
    return bool((differences <= LARGEST_DIFFERENCE).all() and (covered >= LEAST_COVERAGE).all())


def main() -> None:
    """Compare the wished tables and say whether each is as wished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=whole_number(at_least=1), default=100, help="samples of each table")
    parser.add_argument("--configurations", type=whole_number(at_least=20), default=256, help="in each sample")
    parser.add_argument("--tables", type=Path, required=True, help="folder of the public tables")
    parser.add_argument("--names", nargs="+", choices=NAMES, default=NAMES)
    wished = parser.parse_args()
    for name in wished.names:
        good = compare(name, wished.tables / f"hpobench_{name}.parquet", wished.draws, wished.configurations)
        print(f"{name}: {'as wished' if good else 'NOT as wished'}\n", flush=True)


if __name__ == "__main__":
    main()
