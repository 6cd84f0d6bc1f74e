"""Simulated tables with known expected values: what the tests of `analysis` are run on."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.table import Axis, Table

BATCH_SIZES = (16, 64, 256)
TEMPERATURES = tuple(float(f"{value:.12g}") for value in np.geomspace(0.05, 2.0, 5))
AXES = (
    Axis("batch_size", "log2", BATCH_SIZES, 16.0, 256.0, default=256.0),
    Axis("temperature", "log", TEMPERATURES, 0.05, 2.0, default=0.2),
)
GRID = pd.DataFrame([(b, t) for b in BATCH_SIZES for t in TEMPERATURES], columns=["batch_size", "temperature"])
BLOCKS = np.repeat([0, 1, 2], 5)
Truth = Callable[[pd.DataFrame], np.ndarray]


def hill(settings: pd.DataFrame, *, top: float = 0.93, width: float = 0.15) -> np.ndarray:
    """An accuracy that peaks at a medium temperature and a large batch size."""
    u = np.log(settings["temperature"] / 0.05) / np.log(40.0)
    w = np.log2(settings["batch_size"] / 16.0) / 4.0
    return np.asarray(top - width * (u - 0.4) ** 2 - 0.03 * (w - 0.8) ** 2)


def runs(
    settings: pd.DataFrame, truth: np.ndarray, *, seeds: int, rng: np.random.Generator,
    seed_sd: float = 0.0, block_sd: float = 0.0, noise_sd: float = 0.01, failing: float = 0.0,
) -> pd.DataFrame:  # fmt: skip
    """Trials of one family: truth + seed + seed x batch size + residual; some diverge."""
    blocks = np.searchsorted(BATCH_SIZES, settings["batch_size"].to_numpy())
    y = truth[:, None] + rng.normal(0, seed_sd, seeds) + rng.normal(0, block_sd, (3, seeds))[blocks]
    y = y + rng.normal(0, noise_sd, y.shape)
    failed = rng.uniform(size=y.shape) < failing
    rows = []
    for seed in range(seeds):
        values = np.where(failed[:, seed], np.nan, y[:, seed])
        validation = values + rng.normal(0, noise_sd / 2, len(values))
        rows.append(
            settings.assign(
                seed=seed,
                status=np.where(failed[:, seed], "diverged", "ok"),
                linear_top1=values,
                linear_top1_validation=validation,
                z_effective_rank=20 * values,
            )
        )
    return pd.concat(rows, ignore_index=True)


def table(families: dict[str, pd.DataFrame], *, axes: tuple[Axis, ...] = AXES, design: str = "grid") -> Table:
    """A table of one data set from the families' trials, with an untrained baseline."""
    trials = pd.concat([rows.assign(family=name) for name, rows in families.items()], ignore_index=True)
    seeds = sorted(trials["seed"].unique())
    columns = {"family": "untrained", "seed": seeds, "status": "ok", "dataset": "digits"}
    baseline = pd.DataFrame(columns | {"linear_top1": [0.8 + 0.01 * seed for seed in seeds]})
    return Table(
        name="simulated", trials=trials.assign(dataset="digits"), baseline=baseline,
        axes=dict.fromkeys(families, axes), shared=("batch_size",), outcome="linear_top1",
        selection="linear_top1_validation", direction="maximize", floor=0.1, reference=None,
        tolerances=(0.005, 0.01, 0.02), equivalence=0.01, design=design, num_planned=len(trials),
    )  # fmt: skip


def study(*, num_families: int = 7, seeds: int = 5, seed: int = 0, failing: float = 0.0) -> Table:
    """Families of falling quality and growing sensitivity, with a common seed effect."""
    rng = np.random.default_rng(seed)
    families = {}
    for index in range(num_families):
        truth = hill(GRID, top=0.93 - 0.01 * index, width=0.1 + 0.1 * index)
        families[f"family_{index}"] = runs(
            GRID, truth, seeds=seeds, rng=rng, seed_sd=0.008, block_sd=0.004, noise_sd=0.006, failing=failing
        )
    return table(families)


def scattered(*, configurations: int = 40, seeds: int = 3, seed: int = 0, truth: Truth = hill) -> Table:
    """One family at random points of the same space."""
    rng = np.random.default_rng(seed)
    settings = pd.DataFrame({
        "batch_size": rng.choice(BATCH_SIZES, configurations),
        "temperature": np.exp(rng.uniform(np.log(0.05), np.log(2.0), configurations)),
    })  # fmt: skip
    axes = (AXES[0], Axis("temperature", "log", (), 0.05, 2.0, default=0.2))
    rows = runs(settings, truth(settings), seeds=seeds, rng=rng, seed_sd=0.004, noise_sd=0.003)
    return table({"hill": rows}, axes=axes, design="random")


def noisy(
    rng: np.random.Generator, truth: np.ndarray, *, seeds: int, seed_sd: float = 0.0, block_sd: float = 0.0,
    noise_sd: float = 1.0, blocks: np.ndarray = BLOCKS,
) -> np.ndarray:  # fmt: skip
    """(n, seeds) outcomes out of the noise model."""
    block = rng.normal(0, block_sd, (int(blocks.max()) + 1, seeds))[blocks]
    return truth[:, None] + rng.normal(0, seed_sd, seeds) + block + rng.normal(0, noise_sd, (len(truth), seeds))


def one_row(rows: pd.DataFrame, measure: str, family: str = "f", **where: object) -> pd.Series:
    """The one row of a measure."""
    kept = (rows["measure"] == measure) & (rows["family"] == family)
    for name, value in where.items():
        kept &= rows[name] == value
    assert kept.sum() == 1, (measure, family, where)
    return rows[kept].iloc[0]
