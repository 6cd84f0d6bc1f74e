"""Simulated tables of which the truth is known: what `honesty.py` measures the error bars of the analysis on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.table import Axis, Table

Floats = NDArray[np.float64]

BATCH_SIZES = (16, 64, 256)
TEMPERATURES = tuple(float(f"{value:.12g}") for value in np.geomspace(0.05, 2.0, 5))


def grid(temperatures: Sequence[float]) -> pd.DataFrame:
    """Every batch size with every temperature."""
    return pd.DataFrame([(b, t) for b in BATCH_SIZES for t in temperatures], columns=["batch_size", "temperature"])


def scattered(count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Settings drawn from the reference measure."""
    sizes, temperatures = rng.choice(BATCH_SIZES, count), np.exp(rng.uniform(np.log(0.05), np.log(2.0), count))
    return pd.DataFrame({"batch_size": sizes, "temperature": temperatures})


GRID = grid(TEMPERATURES)
FINE = grid(np.geomspace(0.05, 2.0, 61).tolist())
"""Stands for the whole space where settings are scattered over it."""


@dataclass(frozen=True)
class Noise:
    """Standard deviations of what moves a run.

    Args:
        common: what all runs of a seed share.
        family: what the runs of a seed and family share beyond that.
        block: what those of a seed, family and batch size share beyond that.
        residual: a run's own.
    """

    common: float = 0.0
    family: float = 0.0
    block: float = 0.004
    residual: float = 0.006


def hill(settings: pd.DataFrame, *, top: float, width: float, at: float = 0.4) -> Floats:
    """An accuracy that peaks at a medium temperature and a large batch size."""
    u = np.log(settings["temperature"] / 0.05) / np.log(40.0)
    w = np.log2(settings["batch_size"] / 16.0) / 4.0
    return np.asarray(top - width * (u - at) ** 2 - 0.03 * (w - 0.8) ** 2)


def outcomes(
    truths: Mapping[str, Floats],
    noise: Noise,
    *,
    seeds: int,
    rng: np.random.Generator,
    settings: pd.DataFrame = GRID,
    exact: bool = False,
) -> dict[str, Floats]:
    """Family -> (n, S) outcomes; with `exact`, all effects have the mean 0 and their variance to the last digit."""
    blocks = np.searchsorted(BATCH_SIZES, settings["batch_size"])

    def normal(deviation: float, *shape: int) -> Floats:
        z = rng.normal(size=shape)
        if exact:
            z = (z - z.mean(axis=-1, keepdims=True)) / z.std(axis=-1, keepdims=True)
        return deviation * z

    common = normal(noise.common, seeds)
    return {
        name: truth[:, None] + common + normal(noise.family, seeds)
        + normal(noise.block, len(BATCH_SIZES), seeds)[blocks] + normal(noise.residual, len(truth), seeds)
        for name, truth in truths.items()
    }  # fmt: skip


def table(
    families: Mapping[str, Floats],
    *,
    reference: str | None,
    rng: np.random.Generator,
    dataset: str = "a",
    settings: pd.DataFrame = GRID,
    design: str = "grid",
) -> Table:
    """A table of one data set; the effective rank follows the outcome loosely, settings are chosen on the outcome."""
    levels = tuple(sorted(settings["temperature"].unique().tolist())) if design == "grid" else ()
    axes = (
        Axis("batch_size", "log2", BATCH_SIZES, 16.0, 256.0, default=256.0),
        Axis("temperature", "log", levels, 0.05, 2.0, default=0.2),
    )
    names, seeds = list(families), next(iter(families.values())).shape[1]
    size = len(settings) * seeds
    trials = pd.concat([settings] * (seeds * len(names)), ignore_index=True).assign(
        dataset=dataset, family=np.repeat(names, size), status="ok",
        seed=np.tile(np.repeat(np.arange(seeds), len(settings)), len(names)),
        linear_top1=np.concatenate([values.T.ravel() for values in families.values()]),
    )  # fmt: skip
    trials["z_effective_rank"] = 20 * trials["linear_top1"] + rng.normal(0, 0.4, len(trials))
    return Table(
        name="simulated", trials=trials, baseline=trials.iloc[:0], axes=dict.fromkeys(names, axes),
        shared=("batch_size",), outcome="linear_top1", selection=None, direction="maximize", floor=0.1,
        reference=reference, tolerances=(0.005, 0.01, 0.02), equivalence=0.01, design=design, num_planned=len(trials),
    )  # fmt: skip
