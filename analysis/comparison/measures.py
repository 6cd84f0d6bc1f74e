"""Robustness of families against a reference: differences of their measures, and how often one is better."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.comparison.pairs import Pairs, pairs
from analysis.comparison.rivals import Key, Rivals, measured, rivals
from analysis.comparison.verdicts import FEWEST_SEEDS, TTest, adjusted
from analysis.estimation.balance import levelled, row_means
from analysis.estimation.cells import Cells, all_cells
from analysis.estimation.fitted import Fitted, fit_family
from analysis.estimation.intervals import Estimate, rate
from analysis.estimation.means import crossed_interval, mean_interval
from analysis.robustness.contender import TRIALS_MISSING
from analysis.robustness.data_set_rows import NOT_EVERYWHERE, across, root_mean_square
from analysis.table import Table

Floats = NDArray[np.float64]

LESS_IS_BETTER = ("normalised_regret", "phi")
FLIPS, MANY_SETTINGS = 9999, 1000
NO_NOISE = "no configuration has two seeds"
GIVEN_SEEDS = "given these seeds: secondary, no verdict"


def measure_differences(table: Table, *, seed: int) -> list[dict[str, Any]]:
    """Differences of V(delta), regret and phi of every family from the reference.

    The measures are those of robustness.csv, from a family's own best and from the best of all, which stands
    in `profile`; `measure` ends in the tolerance; phi is over all data sets, and its `dataset` empty. The error
    of a difference is the root mean square of its errors in data sets drawn from the noise model that the
    families share (`analysis.comparison.rivals`), its interval Student's with S - 1 degrees of freedom, S the seeds
    of the side with fewer; no interval, and why, with fewer than 3. p adjusted by Holm's method within a measure.
    No margin of equivalence is known for them: verdicts are better, worse and undecided.
    """
    if table.reference is None or table.reference not in table.axes:
        return []
    sampled = table.design != "grid"
    fitted = [
        [fit_family(one, seed=seed, sampled=sampled) for one in all_cells(table, dataset, table.outcome) if _ran(one)]
        for dataset in table.datasets
    ]
    rows = [row for families in fitted for row in _dataset_differences(table, families, seed)]
    return rows + adjusted(_phi_differences(table, fitted, seed))


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
        differences: (n, S), larger is better; NaN where there is no pair.
        sampled: whether settings are a sample.
    """
    there = np.isfinite(differences)
    above = np.where(there, (differences > 0) + 0.5 * (differences == 0), np.nan)
    found = (crossed_interval if sampled else mean_interval)(above, least=0.0, most=1.0)
    everything = np.unique(above[there])
    if len(everything) == 1 and everything[0] in (0.0, 1.0):
        seeds = np.full((1, above.shape[1]), bool(everything[0]))
        counted = rate(seeds, np.ones_like(seeds), sampled=sampled)
    else:
        counted = _effective(found.estimate, row_means(above.T), int(there.sum()))
    low, high = np.nanmin([found.low, counted.low]), np.nanmax([found.high, counted.high])
    return Estimate(found.estimate, float(low), float(high), "share of pairs", found.reason)


def _effective(share: float, per_seed: Floats, pairs: int) -> Estimate:
    """Clopper and Pearson's interval where pairs count fewer the more they agree within a seed."""
    settings = pairs / len(per_seed)
    binomial = share * (1 - share) / settings
    clustering = float(np.var(per_seed, ddof=1)) / binomial if binomial > 0 and len(per_seed) > 1 else 1.0
    count = pairs / min(max(clustering, 1.0), settings)
    hits = share * count
    low = float(stats.beta.ppf(0.025, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    return Estimate(share, low, high, "")


def sign_flip_p(differences: Floats, *, seed: int) -> float:
    """Two-sided p of the mean under random signs of the settings' mean differences.

    Exact up to 13 settings; of more than 1,000 by the normal limit, whose variance is sum d^2 / n^2.

    Args:
        differences: (n, S), NaN where there is no pair; means are then balanced over seeds.
        seed: of the signs that are drawn where there are too many.
    """
    rng, d = np.random.default_rng(seed), _balanced_means(differences)
    if len(d) > MANY_SETTINGS:
        return float(2 * stats.norm.sf(abs(d.sum()) / np.sqrt(np.sum(d**2)))) if d.any() else 1.0
    found = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", vectorized=True, n_resamples=FLIPS, rng=rng
    )
    return float(found.pvalue)


def _balanced_means(differences: Floats) -> Floats:
    """(n,) means of settings, without what the pairs of a seed share where some are missing."""
    one_block = np.zeros(len(differences), dtype=np.intp)
    return row_means(levelled(differences, np.zeros(differences.shape, dtype=bool), one_block))


def _ran(family: Cells) -> bool:
    return bool(np.isfinite(family.outcome).any())


def _dataset_differences(table: Table, families: Sequence[Fitted], seed: int) -> Iterator[dict[str, Any]]:
    reference = next((one for one in families if one.cells.family == table.reference), None)
    if reference is None:
        return
    # The field of `analysis.robustness.contest`: the best of all is the same in both tables.
    able = [one for one in families if _has_noise(one)]
    known = _has_noise(reference)
    found = rivals(able, tolerances=table.tolerances, sampled=table.design != "grid", seed=seed) if known else None
    for key in measured(table.tolerances):
        others = [one for one in families if one is not reference]
        yield from adjusted(_difference_row(table, one, reference, key, found) for one in others)


def _difference_row(table: Table, family: Fitted, reference: Fitted, key: Key, found: Rivals | None) -> dict[str, Any]:
    sides, name = (family, reference), key.measure if math.isnan(key.tolerance) else f"{key.measure}_{key.tolerance:g}"
    labels = _labels(table, family.cells.dataset, family.cells.family, key.reference, name)
    labels |= {"n_pairs": 0, "n_seeds": min(one.cells.num_seeds for one in sides)}
    reasons = [NO_NOISE if not _has_noise(one) else found.reason(key, one) if found else "" for one in sides]
    if found is None or any(reasons):
        return labels | _unknown(_first_reason(reasons, reference.cells.family))
    ours, theirs = (found.column(one) for one in sides)
    row = found.keys.index(key)
    difference = float(found.values[row, ours] - found.values[row, theirs])
    if not all(one.cells.is_connected for one in sides):
        return labels | _alone(difference, f"no interval: {TRIALS_MISSING}")
    step = sum(0.5 / one.cells.num_configs for one in sides) if key.measure == "near_optimal_mass" else 0.0
    errors = found.errors[:, row, ours] - found.errors[:, row, theirs]
    return labels | _decided(difference, errors, labels["n_seeds"], key.measure, resolution=step)


def _phi_differences(table: Table, fitted: Sequence[Sequence[Fitted]], seed: int) -> Iterator[dict[str, Any]]:
    """Those of robustness.csv, which are at least 0; their data set is empty."""
    seeds: dict[str, int] = {}
    for one in (one for families in fitted for one in families):
        seeds[one.cells.family] = min(seeds.get(one.cells.family, one.cells.num_seeds), one.cells.num_seeds)
    reference = str(table.reference)
    if len(fitted) < 2 or reference not in seeds:
        return
    everywhere = across(table, fitted)
    theirs = everywhere.get(reference)
    their_errors = theirs.errors(seed=seed) if theirs and not theirs.reason else np.empty(0)
    for name in sorted(seeds.keys() - {reference}):
        ours, count = everywhere.get(name), min(seeds[name], seeds[reference])
        labels = _labels(table, "", name, "own", "phi") | {"n_pairs": 0, "n_seeds": count}
        reasons = [side.reason if side else NOT_EVERYWHERE for side in (ours, theirs)]
        if ours is None or theirs is None or any(reasons):
            yield labels | _unknown(_first_reason(reasons, reference))
        else:
            difference = max(ours.phi, 0.0) - max(theirs.phi, 0.0)
            yield labels | _decided(difference, ours.errors(seed=seed) - their_errors, count, "phi")


def _has_noise(fitted: Fitted) -> bool:
    return math.isfinite(fitted.outcome.noise.residual)


def _first_reason(reasons: Sequence[str], reference: str) -> str:
    """The family's own, or that of the reference by its name."""
    own, theirs = reasons
    return own or f"{reference}: {theirs}"


def _decided(difference: float, errors: Floats, seeds: int, measure: str, *, resolution: float = 0.0) -> dict[str, Any]:
    """A difference with Student's interval from its simulated errors, widened by what steps can't show.

    V(delta) is a whole number of configurations, its estimate is smooth: half a step of each side is added. (A
    cell beside the tolerance made intervals without it cover .75 at 10 seeds.)
    """
    error = root_mean_square(errors)
    if seeds < FEWEST_SEEDS or math.isnan(error):
        few = f"fewer than {FEWEST_SEEDS} seeds" if seeds < FEWEST_SEEDS else "unknown noise"
        return _alone(difference, f"no interval: {few}")
    certain = math.copysign(max(abs(difference) - resolution, 0.0), difference)
    test = TTest(certain, error, seeds - 1, seeds)
    half = test.half_width(0.95) + resolution
    better = -difference if measure in LESS_IS_BETTER else difference
    verdict = "undecided" if abs(difference) <= half else "better" if better > 0 else "worse"
    least, most = (-math.inf, math.inf) if measure == "phi" else (-1.0, 1.0)
    return {
        "difference": difference, "low": max(difference - half, least), "high": min(difference + half, most),
        "p": test.p, "verdict": verdict, "reason": "",
    }  # fmt: skip


def _improvement_row(table: Table, family: Cells, found: Pairs, *, sampled: bool) -> dict[str, Any]:
    labels = _labels(table, family.dataset, family.family, "mean", "probability_of_improvement")
    labels |= {"n_pairs": found.num_pairs, "n_seeds": found.num_seeds}
    if found.too_few:
        return labels | _unknown(found.too_few)
    share = probability_of_improvement(found.differences, sampled=sampled)
    verdict = "better" if share.low > 0.5 else "worse" if share.high < 0.5 else "undecided"
    numbers = {"difference": share.estimate, "low": share.low, "high": share.high, "p": math.nan}
    return labels | numbers | {"verdict": verdict, "reason": found.note}


def _flip_row(table: Table, family: Cells, found: Pairs, *, seed: int) -> dict[str, Any]:
    labels = _labels(table, family.dataset, family.family, "mean", "sign_flip")
    labels |= {"n_pairs": found.num_pairs, "n_seeds": found.num_seeds}
    if found.too_few:
        return labels | _unknown(found.too_few)
    numbers = {
        "difference": family.sign * float(_balanced_means(found.differences).mean()),
        "low": math.nan,
        "high": math.nan,
    }
    p = sign_flip_p(found.differences, seed=seed)
    return labels | numbers | {"p": p, "verdict": "", "reason": GIVEN_SEEDS}


def _labels(table: Table, dataset: str, family: str, profile: str, measure: str) -> dict[str, Any]:
    return {
        "dataset": dataset, "outcome": table.outcome, "family": family, "against": table.reference,
        "profile": profile, "measure": measure,
    }  # fmt: skip


def _unknown(reason: str) -> dict[str, Any]:
    return _alone(math.nan, reason)


def _alone(difference: float, reason: str) -> dict[str, Any]:
    """A difference without an interval, and why."""
    unknown = dict.fromkeys(("low", "high", "p"), math.nan)
    return {"difference": difference, **unknown, "verdict": "undecided", "reason": reason}
