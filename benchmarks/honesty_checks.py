"""What `honesty.py` counts: intervals that hold the truth, and verdicts that are false."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd
from honesty_worlds import FINE, GRID, Noise, hill, outcomes, scattered, table
from scipy import stats

from analysis.collapse import collapse
from analysis.collapse.association import METHODS, association
from analysis.comparison import compare, paired_differences
from analysis.comparison.measures import probability_of_improvement
from analysis.estimation.cells import all_cells
from analysis.estimation.fitted import fit_family
from analysis.estimation.intervals import rate
from analysis.estimation.means import crossed_interval, mean_interval
from analysis.robustness import measures
from analysis.sensitivity import indices
from analysis.surfaces.profiles import profiles
from analysis.table import Table

LEAST, MOST, MOST_FALSE, CHANCE = 0.92, 0.98, 0.06, 0.01
SCATTERED = ", scattered"
"""What the names of measures of scattered designs end in."""

AWAY = 0.05
"""From here on a share of variance counts as not 0."""
SHARES = ("omega2", "S1_corrected", "ST_corrected")
TWO_SIDED = (
    "profile", "difference mean", "difference best", "mean_interval", "crossed_interval",
    *(f"{share} above {AWAY:g}" for share in SHARES),
)  # fmt: skip
"""What is a mean or a difference of means, and shares of variance that are not 0: too wide is wrong too."""

TRUE_SEEDS = 400
HILLS = {"a": partial(hill, top=0.93, width=0.15), "b": partial(hill, top=0.92, width=0.3)}
CONFIGURATIONS = 40
"""Of a scattered design."""

PEAKS = {"x": 0.2, "y": 0.4, "z": 0.7}
"""Data set -> where on the axis its best temperature lies."""
COMMON = {"no": 0.0, "yes": 0.01}
KEYS = ["family", "measure", "axis", "tolerance", "reference"]
EFFECTS = (0.0, 0.25, 0.5, 1.0, 2.0)
ARRAYS_A_TABLE = 20
"""Arrays are drawn so many times more often than tables."""


@dataclass
class Tally:
    """Which intervals held the truth, by (measure, seeds, whether seeds have a common effect); which say that they
    undercover.
    """

    held: dict[tuple[str, int, str], list[bool]] = field(default_factory=lambda: defaultdict(list))
    noted: set[str] = field(default_factory=set)

    def add(self, key: tuple[str, int, str], low: float, high: float, truth: float) -> None:
        """One interval; one that is not given is left out."""
        if not any(math.isnan(value) for value in (low, high, truth)):
            self.held[key].append(bool(low - 1e-9 <= truth <= high + 1e-9))

    def share(self, key: tuple[str, int, str]) -> float:
        """How many of the intervals held the truth; NaN where there are none."""
        return _share(self.held.get(key, []))

    def count(self, key: tuple[str, int, str]) -> int:
        """How many intervals there were."""
        return len(self.held.get(key, []))

    def failing(self, measure: str) -> list[tuple[int, str]]:
        """Where a measure covers too little, or too much if that is asked of it, by more than chance."""
        two_sided = measure.removesuffix(SCATTERED) in TWO_SIDED
        return [
            (seeds, common)
            for (name, seeds, common), held in self.held.items()
            if name == measure and (_below(held, LEAST) or (two_sided and _above(held, MOST)))
        ]


def _below(held: Sequence[bool], bound: float) -> bool:
    """Whether fewer hold than would by chance."""
    return bool(stats.binom.cdf(sum(held), len(held), bound) < CHANCE)


def _above(held: Sequence[bool], bound: float) -> bool:
    return bool(stats.binom.sf(sum(held) - 1, len(held), bound) < CHANCE)


def rows_of(drawn: Table, *, seed: int) -> pd.DataFrame:
    """Every interval that the analysis gives for a table: `KEYS`, estimate, low, high, reason."""
    single = measures(drawn, seed=seed)
    shapes = collapse(drawn, seed=seed)
    against = compare(drawn, seed=seed).rename(columns={"difference": "estimate", "profile": "reference"})
    against["measure"] = np.where(
        against["measure"] == "difference", "difference", "difference of " + against["measure"].astype(str)
    )
    along = profiles(drawn, "linear_top1", seed=seed).rename(columns={"value": "tolerance"}).assign(measure="profile")
    shares = indices(drawn, seed=seed)
    rows = pd.concat([single, shapes, shares, against, along], ignore_index=True)
    rows = rows[~rows["measure"].isin(["failure_rate", "difference of sign_flip", "best_null"])]
    rows[["axis", "reference"]] = rows[["axis", "reference"]].fillna("")
    rows["tolerance"] = rows["tolerance"].astype(float).fillna(-1.0)
    return rows[[*KEYS, "estimate", "low", "high", "reason"]].assign(truth=math.nan)


def table_coverage(tally: Tally, *, seeds: int, common: str, draws: int) -> None:
    """Tables of two families against their truth."""
    rng = np.random.default_rng([seeds, len(common)])
    drawn = partial(_simulated, noise=Noise(common=COMMON[common]), rng=rng)
    truth = rows_of(drawn(GRID, seeds=TRUE_SEEDS, exact=True), seed=0)
    _add_rows(tally, (seeds, common), truth, [rows_of(drawn(GRID, seeds=seeds), seed=draw) for draw in range(draws)])


def scattered_coverage(tally: Tally, *, seeds: int, common: str, draws: int) -> None:
    """The same with settings drawn anew each time, against the truth of the whole space.

    `best`, `worst_case` and `worst_octave_drop` are about a setting that was chosen among those drawn: they are held
    against the truth there.
    """
    rng = np.random.default_rng([seeds, len(common), 5])
    drawn = partial(_simulated, noise=Noise(common=COMMON[common]), rng=rng)
    truth = rows_of(drawn(FINE, seeds=TRUE_SEEDS // 2, exact=True), seed=0)
    found = []
    for draw in range(draws):
        one = drawn(scattered(CONFIGURATIONS, rng), seeds=seeds, design="random")
        found.append(
            rows_of(one, seed=draw)
            .drop(columns="truth")
            .merge(_at_the_chosen(one), how="left", on=["family", "measure", "axis"])
        )
    _add_rows(tally, (seeds, common), truth, found, suffix=SCATTERED)


def _at_the_chosen(drawn: Table) -> pd.DataFrame:
    """The truth at the settings that are best and worst on all seeds."""
    rows = []
    for cells in all_cells(drawn, "a", "linear_top1"):
        surface = HILLS[cells.family]
        best, worst = pd.DataFrame([cells.chosen_setting]), cells.settings.iloc[[int(np.argmin(cells.means))]]
        top = surface(best).item()
        rows += [(cells.family, "best", "", top), (cells.family, "worst_case", "", surface(worst).item())]
        for axis in cells.axes:
            beside = pd.concat([best] * 65, ignore_index=True)
            beside[axis.name] = np.clip(beside[axis.name] * np.geomspace(0.5, 2, 65), axis.low, axis.high)
            rows.append((cells.family, "worst_octave_drop", axis.name, top - surface(beside).min()))
    return pd.DataFrame(rows, columns=["family", "measure", "axis", "truth"])


def _simulated(
    settings: pd.DataFrame, *, noise: Noise, seeds: int, rng: np.random.Generator, exact: bool = False,
    design: str = "grid",
) -> Table:  # fmt: skip
    truths = {name: surface(settings) for name, surface in HILLS.items()}
    drawn = outcomes(truths, noise, seeds=seeds, rng=rng, settings=settings, exact=exact)
    return table(drawn, reference="a", rng=rng, settings=settings, design=design)


def _add_rows(
    tally: Tally, where: tuple[int, str], truth: pd.DataFrame, found: Sequence[pd.DataFrame], *, suffix: str = ""
) -> None:
    """Hold the intervals of drawn tables against the truth; of what is chosen on S - 1 seeds, against the mean."""
    true, every = truth.set_index(KEYS)["estimate"], pd.concat(found, ignore_index=True)
    mean = every.groupby(KEYS)["estimate"].mean()
    for row in every.itertuples():
        key = (row.family, row.measure, row.axis, row.tolerance, row.reference)
        chosen = "choice_regret" in row.measure or (row.measure, row.reference) == ("difference", "best")
        value = (mean if chosen else true).get(key, math.nan)
        value = value if math.isnan(row.truth) else row.truth
        name = f"{row.measure} {row.reference}" if row.reference not in ("", "common") else row.measure
        name += f" above {AWAY:g}" if row.measure in SHARES and value > AWAY else ""
        tally.add((name + suffix, *where), row.low, row.high, value)
        if "undercovers" in str(row.reason):
            tally.noted.add(name + suffix)


def data_set_coverage(tally: Tally, *, seeds: int, common: str, draws: int) -> None:
    """phi of a family whose best temperature differs between three data sets."""
    noise, rng = Noise(common=COMMON[common]), np.random.default_rng([seeds, len(common), 6])

    def phi(count: int, draw: int, *, exact: bool = False) -> pd.DataFrame:
        parts = []
        for name, at in PEAKS.items():
            drawn = outcomes({"a": HILLS["a"](GRID, at=at)}, noise, seeds=count, rng=rng, exact=exact)
            parts.append(table(drawn, reference=None, rng=rng, dataset=name))
        trials = pd.concat([part.trials for part in parts], ignore_index=True)
        rows = measures(replace(parts[0], trials=trials), seed=draw)
        return rows[rows["measure"] == "phi"]

    truth = float(phi(TRUE_SEEDS // 4, 0, exact=True)["estimate"].iloc[0])
    for draw in range(draws):
        for row in phi(seeds, draw).itertuples():
            tally.add(("phi", seeds, common), row.low, row.high, truth)


def array_coverage(tally: Tally, *, seeds: int, common: str, draws: int) -> None:
    """Intervals of scattered designs and of shares, from arrays."""
    rng = np.random.default_rng([seeds, len(common), 1])
    shared, chance, n = {"no": 0.0, "yes": 0.5}[common], 0.15, 20
    for draw in range(ARRAYS_A_TABLE * draws):
        y = rng.normal(size=(n, 1)) + rng.normal(0, shared, seeds) + rng.normal(size=(n, seeds))
        crossed = crossed_interval(y)
        tally.add(("crossed_interval", seeds, common), crossed.low, crossed.high, 0.0)
        luck = rng.normal(0, shared, seeds) + rng.normal(size=(n, seeds))
        fixed = mean_interval(luck)
        tally.add(("mean_interval", seeds, common), fixed.low, fixed.high, 0.0)
        level = math.sqrt(1 + shared**2)
        failed = luck < level * stats.norm.ppf(chance)
        share = rate(failed, np.ones_like(failed), sampled=False)
        tally.add(("failure_rate", seeds, common), share.low, share.high, chance)
        better = probability_of_improvement(luck + 0.5, sampled=False)
        true = float(stats.norm.cdf(0.5 / level))
        tally.add(("probability_of_improvement (array)", seeds, common), better.low, better.high, true)
        if draw % ARRAYS_A_TABLE == 0:
            _add_associations(tally, (seeds, common), rng, draw)


def _add_associations(tally: Tally, where: tuple[int, str], rng: np.random.Generator, draw: int) -> None:
    rho, count = 0.5, 25
    truths = {"spearman": 6 / math.pi * math.asin(rho / 2), "kendall": 2 / math.pi * math.asin(rho)}
    truths["partial"] = truths["spearman"]
    own = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], (count, 1))
    x, y = np.moveaxis(own + rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], (count, where[0])), -1, 0)
    for method in METHODS:
        found = association(x, y, rng.uniform(size=(count, 2)), method=method, seed=draw)
        tally.add((f"{method}{SCATTERED}", *where), found.low, found.high, truths[method])


def false_verdicts(*, seeds: int, draws: int) -> dict[str, float]:
    """Share of A/A comparisons that are called better or worse, by profile."""
    rng = np.random.default_rng([seeds, 2])
    once = table(outcomes({"a": HILLS["a"](GRID)}, Noise(), seeds=5, rng=rng), reference=None, rng=rng)
    surface = fit_family(all_cells(once, "a", "linear_top1")[0], seed=0).outcome.expected
    noise, told = Noise(common=0.01, family=0.004), defaultdict(list)
    for _ in range(draws):
        drawn = outcomes({"a": surface, "b": surface}, noise, seeds=seeds, rng=rng)
        for row in paired_differences(replace(table(drawn, reference="a", rng=rng), equivalence=1e-9)):
            told[row["profile"]].append(row["verdict"] in ("better", "worse"))
    return {profile: _share(each) for profile, each in told.items()}


def flat_rows(*, seeds: int, draws: int) -> Iterator[tuple[str, float, float, float]]:
    """On a surface without shape: measure, share of intervals that hold the truth, mean estimate, mean plug-in."""
    rng = np.random.default_rng([seeds, 3])
    held, estimates, plug_ins = defaultdict(list), defaultdict(list), defaultdict(list)
    flat = {"a": np.full(len(GRID), 0.9)}
    for draw in range(draws):
        parts = [
            table(outcomes(flat, Noise(common=0.01), seeds=seeds, rng=rng), reference=None, rng=rng, dataset=name)
            for name in ("a", "b", "c")
        ]
        both = replace(parts[0], trials=pd.concat([part.trials for part in parts], ignore_index=True))
        rows = measures(both, seed=draw)
        mass = rows[(rows["measure"] == "near_optimal_mass") & (rows["reference"] == "own") & (rows["dataset"] == "a")]
        means = all_cells(both, "a", "linear_top1")[0].means
        for row in mass.itertuples():
            name = f"V({row.tolerance:g})"
            held[name].append(row.low <= 1.0 <= row.high)
            estimates[name].append(row.estimate)
            plug_ins[name].append(float(np.mean(means >= means.max() - row.tolerance)))
        phi, plug_in = (rows[rows["measure"] == name]["estimate"].to_numpy() for name in ("phi", "phi_plug_in"))
        ends = rows[rows["measure"] == "phi"]
        held["phi"].append(bool(ends["low"].iloc[0] <= 1e-9))
        estimates["phi"].append(float(phi[0]))
        plug_ins["phi"].append(float(plug_in[0]))
    for name in held:
        yield name, _share(held[name]), float(np.nanmean(estimates[name])), float(np.nanmean(plug_ins[name]))


def power(*, seeds: int, draws: int) -> list[float]:
    """How often the primary test says better, by effect in standard deviations of a run's own noise."""
    rng, noise, found = np.random.default_rng([seeds, 4]), Noise(common=0.01, family=0.004), []
    for effect in EFFECTS:
        truth = HILLS["a"](GRID)
        truths = {"a": truth, "b": truth + effect * noise.residual}
        told = []
        for _ in range(draws):
            drawn = table(outcomes(truths, noise, seeds=seeds, rng=rng), reference="a", rng=rng)
            rows = paired_differences(replace(drawn, equivalence=1e-9))
            told.append(next(row for row in rows if row["profile"] == "mean")["verdict"] == "better")
        found.append(_share(told))
    return found


def _share(told: Sequence[bool]) -> float:
    return float(np.mean(told)) if len(told) else math.nan
