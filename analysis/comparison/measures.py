"""Robustness of families against a reference: differences of their measures, and how often one is better."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.comparison.pairs import Pairs, pairs
from analysis.comparison.phi_differences import phi_errors
from analysis.comparison.rivals import Key, Rivals, rivals
from analysis.comparison.verdicts import FEWEST_PAIRS, FEWEST_SEEDS, TTest, adjusted
from analysis.estimation.cells import Cells, all_cells
from analysis.estimation.fitted import Fitted, fit_family
from analysis.estimation.intervals import Estimate, rate
from analysis.estimation.means import crossed_interval, mean_interval
from analysis.table import Table

Floats = NDArray[np.float64]

LESS_IS_BETTER = ("normalised_regret", "phi")
FLIPS, MANY_SETTINGS = 9999, 1000
GIVEN_SEEDS = "given these seeds: secondary, no verdict"


def measure_differences(table: Table, *, seed: int) -> list[dict[str, Any]]:
    """Differences of V(delta), regret and phi of every family from the reference.

    The measures are those of robustness.csv, from a family's own best and from the best of all, which stands
    in `profile`; `measure` ends in the tolerance; phi is over all data sets, and its `dataset` empty. The error
    of a difference is the root mean square of its errors in data sets drawn from the noise model that the
    families share (`analysis.comparison.rivals`), its interval Student's with S - 1 degrees of freedom; p adjusted by
    Holm's method within a measure. No margin of equivalence is known for them: verdicts are better, worse and
    undecided.
    """
    if table.reference is None or table.reference not in table.axes:
        return []
    sampled = table.design != "grid"
    fitted = {
        dataset: [fit_family(one, seed=seed, sampled=sampled) for one in all_cells(table, dataset, table.outcome)]
        for dataset in table.datasets
    }
    able = {
        dataset: [one for one in families if math.isfinite(one.outcome.noise.residual) and _has_seeds(one)]
        for dataset, families in fitted.items()
    }
    rows = [row for families in able.values() for row in _dataset_differences(table, families, seed)]
    return rows + list(_phi_differences(table, fitted, seed))


def paired_shares(table: Table, *, seed: int) -> list[dict[str, Any]]:
    """Probability of improvement, and a sign-flip test, of every family over the reference.

    `probability_of_improvement`: the share of pairs (shared setting, seed) at which the mean over the
    family's own axes is above the reference's, a tie counting half; `difference` is that share, .5 where
    neither is better. `sign_flip`: the mean difference with the p of flipping the signs of the settings' mean
    differences. Its p holds for the seeds that were run only: a luck that all settings of a seed share counts
    as a difference (it rejects true equality at .22 to .65), so it has no interval and no verdict.

    Source:
        Agarwal et al., NeurIPS 2021, arXiv:2108.13264 (probability of improvement; here of pairs); Fisher,
        The Design of Experiments, 1935 (sign flips).
    """
    rows = []
    for dataset in table.datasets:
        families = {one.family: one for one in all_cells(table, dataset, table.outcome)}
        reference = families.get(table.reference or "")
        others = [one for name, one in families.items() if name != table.reference]
        if reference is None:
            continue
        found = [(one, pairs(one, reference, shared=table.shared, profile="mean")) for one in others]
        sampled = table.design != "grid"
        rows += adjusted(_improvement_row(table, one, each, sampled=sampled) for one, each in found)
        rows += adjusted(_flip_row(table, one, each, seed=seed) for one, each in found)
    return rows


def probability_of_improvement(differences: Floats, *, sampled: bool) -> Estimate:
    """Share of differences above 0, ties half, with the wider of two 95 % intervals.

    Student's interval of the seeds' shares does not see that a share near 0 or 1 was found on few seeds, and
    Clopper and Pearson's for an effective number of pairs depends on how well the clustering by seed is known:
    where all pairs agree it is not known at all, and only seeds are counted.

    Args:
        differences: (n, S), larger is better.
        sampled: whether settings are a sample.
    """
    above = (differences > 0) + 0.5 * (differences == 0)
    found = (crossed_interval if sampled else mean_interval)(above, least=0.0, most=1.0)
    shares = above.mean(axis=0)
    if np.ptp(above) == 0 and above.flat[0] in (0.0, 1.0):
        counted = rate(above[:1] > 0, np.ones_like(above[:1], dtype=bool), sampled=sampled)
    else:
        counted = _effective(float(shares.mean()), shares, len(above))
    low, high = np.nanmin([found.low, counted.low]), np.nanmax([found.high, counted.high])
    return Estimate(found.estimate, float(low), float(high), "share of pairs", found.reason)


def _effective(share: float, per_seed: Floats, settings: int) -> Estimate:
    """Clopper and Pearson's interval where pairs count fewer the more they agree within a seed."""
    trials = settings * len(per_seed)
    binomial = share * (1 - share) / settings
    clustering = float(np.var(per_seed, ddof=1)) / binomial if binomial > 0 and len(per_seed) > 1 else 1.0
    count = trials / min(max(clustering, 1.0), float(settings))
    hits = share * count
    low = float(stats.beta.ppf(0.025, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    return Estimate(share, low, high, "")


def sign_flip_p(differences: Floats, *, seed: int) -> float:
    """Two-sided p of the mean under random signs of the settings' mean differences.

    Exact up to 13 settings; of more than 1,000 by the normal limit, whose variance is sum d^2 / n^2.

    Args:
        differences: (n, S).
        seed: of the signs that are drawn where there are too many.
    """
    rng, d = np.random.default_rng(seed), differences.mean(axis=1)
    if len(d) > MANY_SETTINGS:
        return float(2 * stats.norm.sf(abs(d.sum()) / np.sqrt(np.sum(d**2)))) if d.any() else 1.0
    found = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", vectorized=True, n_resamples=FLIPS, rng=rng
    )
    return float(found.pvalue)


def _has_seeds(fitted: Fitted) -> bool:
    return fitted.cells.num_seeds >= FEWEST_SEEDS


def _dataset_differences(table: Table, able: Sequence[Fitted], seed: int) -> Iterator[dict[str, Any]]:
    names = [one.cells.family for one in able]
    if table.reference not in names:
        return
    found = rivals(able, tolerances=table.tolerances, sampled=table.design != "grid", seed=seed)
    against = names.index(str(table.reference))
    for row, key in enumerate(found.keys):
        yield from adjusted(
            _difference_row(table, able[column].cells, key, found, row, column, against)
            for column in range(len(names))
            if column != against
        )


def _difference_row(
    table: Table, family: Cells, key: Key, found: Rivals, row: int, column: int, against: int
) -> dict[str, Any]:
    name = key.measure if math.isnan(key.tolerance) else f"{key.measure}_{key.tolerance:g}"
    difference = float(found.values[row, column] - found.values[row, against])
    errors = found.errors[:, row, column] - found.errors[:, row, against]
    labels = _labels(table, family, key.reference, name)
    step = 0.0
    if key.measure == "near_optimal_mass":
        step = sum(0.5 / found.families[one].cells.num_configs for one in (column, against))
    return labels | _decided(difference, errors, family.num_seeds, name, resolution=step) | {"n_pairs": 0}


def _phi_differences(table: Table, fitted: Mapping[str, Sequence[Fitted]], seed: int) -> Iterator[dict[str, Any]]:
    """Of families that ran on all data sets; the data set of these rows is empty."""
    found = phi_errors({dataset: [*families] for dataset, families in fitted.items()}, seed=seed)
    if table.reference not in found or not all(_has_seeds(one) for one in found[table.reference][2]):
        return
    value, errors, theirs = found.pop(table.reference)
    rows = []
    for own_value, own_errors, ours in found.values():
        if all(_has_seeds(one) for one in ours):
            seeds = min(one.cells.num_seeds for one in (*ours, *theirs))
            row = _decided(own_value - value, own_errors - errors, seeds, "phi")
            rows.append(_labels(table, ours[0].cells, "own", "phi") | row | {"dataset": "", "n_pairs": 0})
    yield from adjusted(rows)


def _decided(difference: float, errors: Floats, seeds: int, measure: str, *, resolution: float = 0.0) -> dict[str, Any]:
    """A difference with Student's interval from its simulated errors, widened by what steps can't show.

    V(delta) is a whole number of configurations, its estimate is smooth: half a step of each side is added. (A
    cell beside the tolerance made intervals without it cover .75 at 10 seeds.)
    """
    errors = errors[np.isfinite(errors)]
    if not math.isfinite(difference) or not len(errors):
        return _unknown("no interval: unknown noise" if math.isfinite(difference) else "at floor") | {"n_seeds": seeds}
    certain = math.copysign(max(abs(difference) - resolution, 0.0), difference)
    test = TTest(certain, float(np.sqrt(np.mean(errors**2))), seeds - 1, seeds)
    half = test.half_width(0.95) + resolution
    better = -difference if measure in LESS_IS_BETTER else difference
    verdict = "undecided" if abs(difference) <= half else "better" if better > 0 else "worse"
    least, most = (-math.inf, math.inf) if measure == "phi" else (-1.0, 1.0)
    return {
        "difference": difference, "low": max(difference - half, least), "high": min(difference + half, most),
        "p": test.p, "verdict": verdict, "reason": "", "n_seeds": seeds,
    }  # fmt: skip


def _improvement_row(table: Table, family: Cells, found: Pairs, *, sampled: bool) -> dict[str, Any]:
    labels = _labels(table, family, "mean", "probability_of_improvement")
    labels |= {"n_pairs": found.differences.size, "n_seeds": found.num_seeds}
    if few := _too_few(found):
        return labels | _unknown(few)
    share = probability_of_improvement(found.differences, sampled=sampled)
    verdict = "better" if share.low > 0.5 else "worse" if share.high < 0.5 else "undecided"
    numbers = {"difference": share.estimate, "low": share.low, "high": share.high, "p": math.nan}
    return labels | numbers | {"verdict": verdict, "reason": found.note}


def _flip_row(table: Table, family: Cells, found: Pairs, *, seed: int) -> dict[str, Any]:
    labels = _labels(table, family, "mean", "sign_flip")
    labels |= {"n_pairs": found.differences.size, "n_seeds": found.num_seeds}
    if few := _too_few(found):
        return labels | _unknown(few)
    numbers = {"difference": family.sign * float(found.differences.mean()), "low": math.nan, "high": math.nan}
    p = sign_flip_p(found.differences, seed=seed)
    return labels | numbers | {"p": p, "verdict": "", "reason": GIVEN_SEEDS}


def _too_few(found: Pairs) -> str:
    few = found.num_seeds < FEWEST_SEEDS or found.differences.size < FEWEST_PAIRS
    return f"fewer than {FEWEST_SEEDS} seeds or {FEWEST_PAIRS} pairs" if few else ""


def _labels(table: Table, family: Cells, profile: str, measure: str) -> dict[str, Any]:
    return {
        "dataset": family.dataset, "outcome": table.outcome, "family": family.family, "against": table.reference,
        "profile": profile, "measure": measure,
    }  # fmt: skip


def _unknown(reason: str) -> dict[str, Any]:
    return dict.fromkeys(("difference", "low", "high", "p"), math.nan) | {"verdict": "undecided", "reason": reason}
