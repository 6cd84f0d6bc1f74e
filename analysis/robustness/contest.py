"""The families of one data set side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.estimation.balance import balance
from analysis.estimation.cells import Cells, all_cells
from analysis.estimation.crossfit import choose_best
from analysis.estimation.fitted import fit_family
from analysis.estimation.intervals import Estimate
from analysis.robustness.bootstrap import common_noise, common_regret_errors, family_slices
from analysis.robustness.contender import TRIALS_MISSING, Contender, confidence, contender, not_measured
from analysis.robustness.near_optimal import Shortfall, shortfall
from analysis.table import Table


@dataclass(frozen=True)
class Contest:
    """All families of a data set side by side.

    Args:
        families: in the order of their names.
        best: cross-fitted over families and configurations, larger is better.
        bounds: how far each configuration is below the best of all, the families that compete stacked in order.
        spans: family -> where it lies in `bounds`; absent where its noise is unknown.
        regret_errors: family -> standard error of its regret from `best`.
        reason: why nothing can be measured from the best of all; empty where it can.
        connected: whether enough trials are there to compare all configurations of all families.
        without: families without any outcome.
        competing: the families of whose noise something is known.
        note: which families do not compete, and why; empty where all do.
    """

    families: Sequence[Contender]
    best: float
    bounds: Shortfall | None
    spans: Mapping[str, slice]
    regret_errors: Mapping[str, float]
    reason: str
    connected: bool = True
    without: Sequence[Cells] = ()
    competing: Sequence[Contender] = ()
    note: str = ""

    def reason_for(self, family: Contender) -> str:
        """Why a family can't be measured from the best of all; empty where it can."""
        return self.reason or ("" if family.fitted.cells.family in self.spans else family.reason)

    def supported(self, found: Estimate) -> Estimate:
        """Without its interval where too few trials are there to compare configurations, and with `note`."""
        return (found if self.connected else found.without_interval(TRIALS_MISSING)).noting(self.note)


def contest(table: Table, dataset: str, *, seed: int) -> Contest:
    """Fit every family of a data set, alone and side by side."""
    sampled = table.design != "grid"
    every = all_cells(table, dataset, table.outcome)
    without = [family for family in every if not np.isfinite(family.outcome).any()]
    fitted = [fit_family(one, seed=seed, sampled=sampled) for one in every if np.isfinite(one.outcome).any()]
    families = [contender(table, one, seed) for one in fitted]
    # Nothing is known about the noise of a family with one seed: it can't compete, nor disturb the others.
    competing = [one for one in families if math.isfinite(one.fitted.outcome.noise.residual)]
    if not competing:
        reason = families[0].reason if families else "no trials"
        return Contest(families, math.nan, None, {}, {}, reason, without=without)
    able, names = [one.fitted for one in competing], [one.fitted.cells.family for one in competing]
    apart = [one for one in families if one.fitted.cells.family not in names]
    note = "; ".join(f"measured without {one.fitted.cells.family}: {one.reason}" for one in apart)
    noise, blocks = common_noise(able)
    failed = np.concatenate([one.cells.failed for one in able])
    level = balance(np.concatenate([one.cells.outcome for one in able]), failed, blocks)
    selection = balance(np.concatenate([one.cells.selection for one in able]), failed, blocks).column
    best = choose_best(selection, level.column).mean
    alone = Contest(families, best, None, {}, {}, "", bool(level.connected.all()), without, competing, note)
    if reason := not_measured(best, level.column, able[0].cells.floor, shared=True):
        return replace(alone, reason=reason)
    means = np.concatenate([one.outcome.means for one in able])
    error = np.concatenate([one.outcome.variances for one in able])
    bounds = shortfall(means, blocks, error, noise, shares=level.shares, confidence=confidence(table))
    errors = common_regret_errors(able, sampled=sampled, seed=seed)
    spans = dict(zip(names, family_slices(able), strict=True))
    return replace(alone, bounds=bounds, spans=spans, regret_errors=dict(zip(names, errors.tolist(), strict=True)))
