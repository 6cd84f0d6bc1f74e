"""Means over configurations and seeds, with intervals that know that all configurations of a seed share its luck."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.estimation.intervals import Estimate
from analysis.estimation.noise import seed_effects, t_quantile
from analysis.estimation.weights import are_equal

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean with its standard error.

    Args:
        estimate: in the unit of the values.
        error: standard error; NaN where there is too little to tell.
        df: degrees of freedom of `error`; NaN where it is.
        reason: why there is no error, or what was filled in; empty where neither.
    """

    estimate: float
    error: float
    df: float
    reason: str = ""

    def interval(self, method: str, *, least: float = -math.inf, most: float = math.inf) -> Estimate:
        """Student's 95 % interval, number and ends clipped to what is possible."""
        half = t_quantile(self.df) * self.error if math.isfinite(self.error) else math.nan
        low, found, high = np.clip([self.estimate - half, self.estimate, self.estimate + half], least, most).tolist()
        words = f"{method}; t with {self.df:.3g} degrees of freedom" if math.isfinite(half) else method
        return Estimate(found, low, high, words, self.reason)


def mean_interval(
    values: Floats, *, weights: Floats | None = None, least: float = -math.inf, most: float = math.inf
) -> Estimate:
    """95 % interval of the mean over the configurations at hand, seeds being the sample: see `seed_mean`.

    For instance, of the trials at one level of a grid's axis:

        mean_interval(cells.outcome[cells.settings["temperature"] == 0.1])

    Args:
        values: (n, S), a row a configuration, a column a seed; NaN where there is no trial.
        weights: (n,) of the configurations; equal if None.
        least, most: ends of what is possible.

    Returns:
        In the unit of the values; without low and high, and with the reason, where fewer than two seeds are there.
    """
    return seed_mean(values, weights=weights).interval("mean over seeds", least=least, most=most)


def crossed_interval(
    values: Floats, *, weights: Floats | None = None, least: float = -math.inf, most: float = math.inf
) -> Estimate:
    """95 % interval of the mean over a space of which the configurations are a sample, as seeds are: see
    `crossed_mean`. Arguments and result are those of `mean_interval`.
    """
    return crossed_mean(values, weights=weights).interval("mean over configurations and seeds", least=least, most=most)


def seed_mean(values: Floats, *, weights: Floats | None = None) -> Mean:
    """Mean whose error is that of its seeds.

    With m_s = sum_x w(x) y(x, s) / sum_x w(x):

        estimate = mean_s m_s,    error^2 = sum_s (m_s - estimate)^2 / (S (S - 1)) = MS_s / (n S),    S - 1 df

    (Adding variance components that were clipped at 0 instead gives intervals that always cover.)

    Args:
        values: (n, S), NaN where there is no trial.
        weights: (n,); equal if None.
    """
    laid = _layout(values, weights)
    if isinstance(laid, Mean):
        return laid
    per_seed = laid.share @ laid.values
    return Mean(float(per_seed.mean()), float(per_seed.std(ddof=1) / math.sqrt(len(per_seed))), laid.df_s, laid.note)


def crossed_mean(values: Floats, *, weights: Floats | None = None) -> Mean:
    """Mean of a table of configurations x seeds, both drawn at random.

        error^2 = max(MS_x + MS_s - MS_xs, MS_x, MS_s) / (n S)

    Satterthwaite's degrees of freedom for the sum, those of the one mean square otherwise. With weights,
    p = w / sum w, n is 1 / sum p^2 and the mean squares are

        MS_x / (n S) = c sum_x p^2 (m_x - m)^2,    MS_s / (n S) = sum_s (m_s - m)^2 / (S (S - 1)),
        MS_xs / (n S) = c sum_xs p^2 (y - m_x - m_s + m)^2 / (S (S - 1))

    with c = rows / (rows - 1): the usual ones where weights are equal.

    Args:
        values: (n, S), NaN where there is no trial.
        weights: (n,); equal if None.

    Source:
        Searle, Casella & McCulloch, Variance Components, 1992, section 4.3; Satterthwaite, Biometrics Bulletin 2,
        1946.
    """
    laid = _layout(values, weights)
    if isinstance(laid, Mean):
        return laid
    y, p = laid.values, laid.share
    count, seeds = y.shape
    mean = float((p @ y).mean())
    if count < 2:
        return Mean(mean, math.nan, math.nan, "no interval: one configuration")
    per_x, per_seed = y.mean(axis=1), p @ y
    left = y - per_x[:, None] - per_seed + mean
    spare = count / (count - 1)
    x = spare * float(p**2 @ (per_x - mean) ** 2)
    s = float(np.sum((per_seed - mean) ** 2)) / (seeds * (seeds - 1))
    # Filled-in trials have no residual: the sum of squares is that of the trials there are.
    df_xs = (count - 1) * (seeds - 1) - laid.filled
    xs = spare * float(np.sum(p[:, None] ** 2 * left**2)) * (count - 1) / (seeds * df_xs) if df_xs > 0 else 0.0
    df_x, df_s = 1 / float(p @ p) - 1, laid.df_s
    both = x + s - xs
    if both >= max(x, s):
        parts = x**2 / df_x + s**2 / df_s + (xs**2 / df_xs if df_xs > 0 else 0.0)
        return Mean(mean, math.sqrt(both), both**2 / parts if parts > 0 else df_s, laid.note)
    return Mean(mean, math.sqrt(max(x, s)), df_x if x > s else df_s, laid.note)


@dataclass(frozen=True)
class _Layout:
    """A complete table of values: (n, S), normalised weights, how many values were filled in, and a note on them."""

    values: Floats
    share: Floats
    filled: int
    note: str

    @property
    def df_s(self) -> float:
        return float(self.values.shape[1] - 1)


def _layout(values: Floats, weights: Floats | None) -> _Layout | Mean:
    """The table without empty rows and columns; where a mean has no error, that mean and why.

    Source:
        Missing trials at configuration + seed: Yates, The analysis of replicated experiments when the field
        results are incomplete, Empire Journal of Experimental Agriculture 1, 1933.
    """
    present = np.isfinite(values)
    rows, seeds = present.any(axis=1), present.any(axis=0)
    values, present = values[rows][:, seeds], present[rows][:, seeds]
    if not values.size:
        return Mean(math.nan, math.nan, math.nan, "no trials")
    share = np.ones(len(values)) if weights is None or are_equal(weights) else np.asarray(weights, dtype=float)[rows]
    share = share / share.sum()
    if values.shape[1] < 2:
        return Mean(float(share @ values[:, 0]), math.nan, math.nan, "no interval: one seed")
    filled = int((~present).sum())
    if not filled:
        return _Layout(values, share, 0, "")
    linked = seed_effects(values, weights=share)
    if not linked.connected:
        rough = np.where(present, values, 0.0).sum(axis=1) / present.sum(axis=1)
        return Mean(float(share @ rough), math.nan, math.nan, "no interval: trials missing")
    complete = np.where(present, values, linked.own[:, None] + linked.effects)
    return _Layout(complete, share, filled, f"{filled} missing trials filled in")
