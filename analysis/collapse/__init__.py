"""Collapse: how much of a family's space collapses and when, and what it tells of the outcome."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.collapse.association import METHODS, association
from analysis.estimation.balance import levelled
from analysis.estimation.cells import Cells, all_cells, cells
from analysis.estimation.crossfit import choose_best
from analysis.estimation.grids import level_codes, same
from analysis.estimation.intervals import Estimate, around, missing, rate
from analysis.estimation.means import crossed_mean, seed_mean
from analysis.labels import counted
from analysis.robustness import COLUMNS
from analysis.table import Table
from analysis.table.exploratory import only_exploratory, split

Floats = NDArray[np.float64]

CATEGORIES = ("dimensional", "complete")
RANK = "z_effective_rank"

METRICS = tuple(
    f"{space}_{name}"
    for space in "zh"
    for name in (
        "effective_rank", "effective_rank_centered", "rankme", "participation_ratio", "stable_rank",
        "numerical_rank", "released_rank", "lidar", "alignment", "uniformity", "wasserstein",
    )
)  # fmt: skip
"""Label-free metrics by which a setting could be chosen, each in its own direction."""


UNDERCOVERS = "undercovers: .78 to 1.00 at a nominal .95 in simulations"
"""Of regrets of choices: on few seeds one does not see how else the choice could have fallen, and in scattered designs
not what other configurations could have been drawn."""


def collapse(table: Table, *, seed: int, history: pd.DataFrame | None = None) -> pd.DataFrame:
    """What collapses, when, and what it says about the outcome, of every family: rows of robustness.csv.

    `collapse_dimensional`, `collapse_complete`, `collapse_any`: share of the space, of the trials that ended well.
    `collapse_onset_epoch`: the evaluated epoch from which on a trial stays collapsed, mean over those that end so.
    `rank_accuracy_spearman`, `_kendall`, `_partial`: effective rank of the embeddings against the outcome over
    trials that ended well; partial is Spearman's given the seed and linear and quadratic terms of the axes. Never
    pooled over families. Configurations of which the column at hand is missing are left out, and counted.
    `choice_regret_<metric>`: what is lost by choosing the configuration with the best metric on all seeds but
    one instead of the one with the best outcome, read on the seed left out; `choice_regret_random` by a
    configuration drawn at random. In a notebook:

        found = collapse(table, seed=0)
        found[found["measure"].str.startswith("choice_regret")].sort_values("estimate")

    Args:
        seed: of the cluster bootstrap.
        history: evaluated epochs of trials, with trial_id, epoch and collapse; None where there is none.

    Returns:
        Columns of `analysis.robustness.measures`, reference `common` for shares, epochs and correlations, `own`
        for regrets. No rows of what the table does not have; NaN with a reason where there is too little.
    """
    kept, aside = split(table)
    rows = [
        row
        for dataset in kept.datasets
        for family in all_cells(kept, dataset, table.outcome)
        for row in _rows(kept, family, seed, history)
    ]
    for dataset, name in only_exploratory(table):
        searched = cells(aside, dataset, name, table.outcome)
        if searched is not None and _is_told(table):
            rows.append(_row(table, searched, "common", "collapse_any", missing("adaptive design")))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def onset_epochs(history: pd.DataFrame) -> "pd.Series[float]":
    """The evaluated epoch from which on each trial stays collapsed, by trial_id.

    NaN for trials that are not collapsed at their last evaluated epoch. A trial that collapsed between two
    evaluations counts at the later one.

    Args:
        history: trial_id, epoch, collapse (`none`, `dimensional`, `complete`); epochs without it are left out.
    """
    told = history.dropna(subset=["collapse"]).sort_values(["trial_id", "epoch"], kind="stable")
    sound = told["epoch"].where(~told["collapse"].isin(CATEGORIES))
    last_sound = sound.groupby(told["trial_id"]).transform("max")
    collapsed = told[last_sound.isna() | (told["epoch"] > last_sound)]
    onset = collapsed.groupby("trial_id")["epoch"].min().astype(float)
    return onset.reindex(pd.Index(np.sort(told["trial_id"].unique()), name="trial_id"))


def choice_regrets(outcome: Floats, metrics: dict[str, Floats], selection: Floats) -> dict[str, Floats]:
    """Loss by each way of choosing, on every seed left out.

        regret_s = outcome of the best by `selection` without s - outcome of the best by the metric without s, on s

    Args:
        outcome: (n, S), larger is better.
        metrics: name -> (n, S), larger is better; NaN where a trial has none, which can't be chosen.
        selection: (n, S) the column on which the best is chosen.

    Returns:
        Name -> (S,), NaN where nothing could be chosen; `random` is the mean over all configurations.
    """
    best = choose_best(selection, outcome).values
    seeds = np.isfinite(outcome)
    mean = np.where(seeds, outcome, 0.0).sum(axis=0) / np.maximum(seeds.sum(axis=0), 1)
    found = {"random": np.where(seeds.any(axis=0), best - mean, np.nan)}
    return found | {name: best - choose_best(metric, outcome).values for name, metric in metrics.items()}


def _rows(table: Table, family: Cells, seed: int, history: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    trials = _trials(table, family)
    found = [("common", name, value) for name, value in _shares(table, trials, family)]
    found += [("common", name, value) for name, value in _onset(table, trials, history)]
    found += [("common", name, value) for name, value in _rank_rows(table, family, seed)]
    found += [("own", name, value) for name, value in _regret_rows(table, family)]
    yield from (_row(table, family, *one) for one in found)


def _row(table: Table, family: Cells, reference: str, measure: str, found: Estimate) -> dict[str, Any]:
    return {
        "dataset": family.dataset, "outcome": table.outcome, "family": family.family, "measure": measure, "axis": "",
        "tolerance": math.nan, "reference": reference, **vars(found), "n_configs": family.num_configs,
        "n_seeds": family.num_seeds, "n_failed": int(family.failed.sum()),
    }  # fmt: skip


def _is_told(table: Table) -> bool:
    return "collapse" in table.trials and bool(table.trials["collapse"].notna().any())


def _trials(table: Table, family: Cells) -> pd.DataFrame:
    """The family's trials that ended well, with the number of their configuration and seed."""
    trials = table.trials
    mine = trials[
        (trials["dataset"] == family.dataset) & (trials["family"] == family.family) & (trials["status"] == "ok")
    ]
    names = [axis.name for axis in family.axes]
    configuration = mine.groupby(names, sort=True, dropna=False).ngroup() if names else 0
    return mine.assign(_configuration=configuration, _seed=pd.factorize(mine["seed"], sort=True)[0])


def _layout(trials: pd.DataFrame, values: "pd.Series[Any]") -> Floats:
    """(n, S) of a column of the trials; NaN where there is none."""
    shape = (int(trials["_configuration"].max()) + 1, int(trials["_seed"].max()) + 1)
    array = np.full(shape, np.nan)
    array[trials["_configuration"], trials["_seed"]] = values.to_numpy(dtype=float, na_value=np.nan)
    return array


def _shares(table: Table, trials: pd.DataFrame, family: Cells) -> Iterator[tuple[str, Estimate]]:
    if not _is_told(table) or not trials["collapse"].notna().any():
        return
    told = trials[trials["collapse"].notna()]
    for name, categories in (*((one, (one,)) for one in CATEGORIES), ("any", CATEGORIES)):
        hit = _layout(told, told["collapse"].isin(categories).astype(float))
        found = rate(hit == 1, np.isfinite(hit), sampled=table.design != "grid")
        failed = int(family.failed.sum())
        reason = f"{counted(failed, 'failed trial')} left out" if failed else ""
        yield f"collapse_{name}", replace(found, reason=reason)


def _onset(table: Table, trials: pd.DataFrame, history: pd.DataFrame | None) -> Iterator[tuple[str, Estimate]]:
    if history is None or history.empty or "collapse" not in history or "trial_id" not in trials:
        return
    epochs = trials["trial_id"].map(onset_epochs(history[history["trial_id"].isin(trials["trial_id"])]))
    if not epochs.notna().any():
        yield "collapse_onset_epoch", missing("no trial ends collapsed")
        return
    found = _of_collapsed(_layout(trials, epochs), sampled=table.design != "grid")
    words = f"{int(epochs.notna().sum())} of {counted(len(epochs), 'trial')} end collapsed; {found.method}"
    yield "collapse_onset_epoch", replace(found, method=words)


def _of_collapsed(onset: Floats, *, sampled: bool) -> Estimate:
    """Mean over the trials that end collapsed, which are not missing elsewhere: a ratio of sums over seeds.

    With c(x, s) whether a trial ends collapsed and m the mean of its onset y(x, s) over those that do, the error of m
    is that of the mean of

        c(x, s) (y(x, s) - m) / mean c

    over the seeds, and in scattered designs the settings, that have a trial that ends so.

    Args:
        onset: (n, S), NaN where no trial ends collapsed.

    Source:
        Cochran, Sampling Techniques, 1977, section 6.4 (the ratio estimate).
    """
    collapsed = np.isfinite(onset)
    rows, seeds = collapsed.any(axis=1), collapsed.any(axis=0)
    onset, collapsed = onset[rows][:, seeds], collapsed[rows][:, seeds]
    mean = float(onset[collapsed].mean())
    if onset.shape[1] < 2:
        return Estimate(mean, math.nan, math.nan, "mean over trials", "no interval: one seed has collapsed trials")
    away = np.where(collapsed, onset - mean, 0.0) / collapsed.mean()
    found = replace((crossed_mean if sampled else seed_mean)(away), estimate=mean)
    shown = found.interval("mean over trials; clusters of seeds", least=0.0)
    return shown if found.error != 0 else shown.without_interval("no interval: the same on every seed")


def _placed(family: Cells, column: Cells) -> tuple[Floats, str]:
    """Another column on the family's configurations and seeds, failures NaN, and how many have none of it."""
    numbers = same(level_codes(pd.concat([family.settings, column.settings], ignore_index=True)))
    own, there = np.split(numbers, [family.num_configs])
    found = np.full((int(numbers.max()) + 1, family.outcome.shape[1]), np.nan)
    found[there] = np.where(column.failed, np.nan, column.outcome)
    found = found[own]
    lacking = int((np.isfinite(family.succeeded).any(axis=1) & ~np.isfinite(found).any(axis=1)).sum())
    return found, f"{counted(lacking, 'configuration')} without {column.outcome_name}" if lacking else ""


def _rank_rows(table: Table, family: Cells, seed: int) -> Iterator[tuple[str, Estimate]]:
    if RANK not in table.trials or table.outcome == RANK:
        return
    rank = cells(table, family.dataset, family.family, RANK)
    if rank is None:
        return
    x, lacking = _placed(family, rank)
    for method in METHODS:
        found = association(rank.sign * x, family.sign * family.succeeded, family.points, method=method, seed=seed)
        yield f"rank_accuracy_{method}", _noted(found, lacking)


def _regret_rows(table: Table, family: Cells) -> Iterator[tuple[str, Estimate]]:
    measured, lacking = {}, {}
    for name in METRICS:
        metric = cells(table, family.dataset, family.family, name) if name in table.trials else None
        if metric is not None and name != table.outcome:
            values, lacking[name] = _placed(family, metric)
            measured[name] = levelled(values, family.failed, family.blocks)
    if not measured:
        return
    selection = levelled(family.selection, family.failed, family.blocks)
    for name, values in choice_regrets(family.outcome, measured, selection).items():
        found = _of_choices(values)
        if family.num_seeds < 2 or not np.isfinite(values).any():
            found = missing("one seed" if family.num_seeds < 2 else "no configuration has two seeds")
        yield f"choice_regret_{name}", _noted(found, lacking.get(name, ""))


def _noted(found: Estimate, note: str) -> Estimate:
    return replace(found, reason="; ".join(part for part in (found.reason, note) if part))


def _of_choices(values: Floats) -> Estimate:
    """Mean of what was read on seeds left out, of which any two choices share all other seeds but one.

        error^2 = (1 / S + 1 / (S - 1)) var_s

    Source:
        Nadeau & Bengio, Inference for the Generalization Error, Machine Learning 52, 2003, equation 9.
    """
    known = values[np.isfinite(values)]
    count = len(known)
    mean = float(known.mean()) if count else math.nan
    error = math.sqrt((1 / count + 1 / (count - 1)) * float(known.var(ddof=1))) if count > 1 else math.nan
    found = around(mean, error, seeds=count, method="cross-fitted; Nadeau-Bengio")
    if error == 0:
        return found.without_interval("no interval: the same on every seed")
    return replace(found, reason=found.reason or UNDERCOVERS)
