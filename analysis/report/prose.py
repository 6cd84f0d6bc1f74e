"""The answer in sentences, claiming no more than the intervals support."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from analysis.comparison import VERDICTS
from analysis.figures import Level
from analysis.labels import Quantity, counted, listed, quantity, setting, share, shortened, words
from analysis.report.numbers import deciding_axes
from analysis.report.results import Results, has_failed, setting_means, untrained_level

_NEARLY_ALL = 0.8
"""An interval of shares that is as long as this says next to nothing."""


@dataclass(frozen=True)
class Passage:
    """Sentences about one thing, and the rows of the tables that they are made of.

    Args:
        rows: file and rows, such as `robustness.csv: measure best`.
    """

    title: str
    text: str
    rows: str


def answer(results: Results, dataset: str) -> list[Passage]:
    """What one data set says about the question of the study; nothing that has no sentence."""
    mass = f"robustness.csv: measure near_optimal_mass, tolerance {results.middle_tolerance:g}, reference common"
    passages = [
        ("Compared", _against(results), "comparisons.csv: measure difference, profile mean"),
        ("Tuning", _mass(results), mass),
        ("What decides", _axes(results), "sensitivity.csv: measure ST_corrected"),
        ("Best", _best(results), "robustness.csv: measure best; scorecard.csv: best_setting"),
        (
            "No training", _untrained(results, dataset),
            "scorecard.csv: row untrained, column best; surfaces.csv: others mean",
        ),
        ("Failures", _failures(results, dataset), "robustness.csv: measure failure_rate"),
    ]  # fmt: skip
    texts = [Passage(title, " ".join(sentences), rows) for title, sentences, rows in passages]
    return [passage for passage in texts if passage.text]


def _against(results: Results) -> Iterator[str]:
    """The verdicts of the paired comparison with the reference, each family's own settings averaged."""
    rows = results.comparisons
    rows = rows[(rows["profile"] == "mean") & (rows["measure"] == "difference") & rows["difference"].notna()]
    if rows.empty:
        return
    verdicts = {
        verdict: list(rows.loc[rows["verdict"] == verdict, "family"])
        for verdict in VERDICTS
        if verdict in set(rows["verdict"])
    }
    parts = [
        f"{shortened(names)} {'is' if len(names) == 1 else 'are'} {verdict}" for verdict, names in verdicts.items()
    ]
    reference, shown = results.table.reference, quantity(results.table.outcome)
    margin = f" (equivalent: within {shown.difference(results.table.equivalence)})" if "equivalent" in verdicts else ""
    yield f"Averaged over its settings and paired with {reference} seed by seed, {'; '.join(parts)}{margin}."


def _axes(results: Results) -> Iterator[str]:
    """Which axis decides most of the variance, where the data tell."""
    found, count = deciding_axes(results), len(results.table.axes)
    if not found:
        return
    if count == 1:
        yield f"The axis that decides most is {words(found[0][0])}."
        return
    parts = [f"{words(axis)} in {'all' if len(families) == count else len(families)}" for axis, families in found[:4]]
    yield f"The axis that decides most is {listed(parts)} of {count} families."


def _mass(results: Results) -> Iterator[str]:
    """Which family asks for the least tuning, and whether the data can tell."""
    shown, tolerance = quantity(results.table.outcome), results.middle_tolerance
    column = f"near_optimal_mass_{tolerance:g}"
    scores = _trained(results)
    if column not in scores or not scores[column].notna().any():
        if len(results.table.trials):
            yield f"How much tuning the families need cannot be told yet: {_missing_mass(results)}."
        return
    ranked = scores.dropna(subset=[column]).sort_values(column, ascending=False, kind="stable")
    first, last = ranked.iloc[0], ranked.iloc[-1]
    within = f"within {shown.difference(tolerance)} of the best {shown.label}"
    if len(ranked) == 1:
        yield f"{_with_interval(first, column)} of the settings of {first['family']} come {within}."
    elif share(first[column]) == share(last[column]):
        yield f"The estimates do not differ: in every family {share(first[column])} of the settings come {within}."
    else:
        yield from _order(ranked, column, within)


def _order(ranked: pd.DataFrame, column: str, within: str) -> Iterator[str]:
    """First and last of the families, as a fact only where the intervals support it."""
    low, high, shares = ranked[f"{column}_low"], ranked[f"{column}_high"], ranked[column].map(share)
    first, others = ranked[shares == shares.iloc[0]], ranked[shares != shares.iloc[0]]
    above = others[others[f"{column}_high"] < first[f"{column}_low"].min(skipna=False)]
    wide = int((high - low >= _NEARLY_ALL).sum())
    if low.isna().all():
        yield "Which family needs the least tuning is not settled: there are no intervals."
    elif 2 * wide > len(ranked):
        yield (
            "How much of its space each family has near the best these seeds cannot tell: the intervals of "
            f"{wide} of {len(ranked)} families span nearly everything."
        )
    elif above.empty:
        yield "Which family needs the least tuning is not settled: the intervals overlap."
    settled = len(first) == 1 and len(above) == len(others)
    most = "needs the least tuning" if len(first) == 1 else "need the least tuning"
    interval = _with_interval(first.iloc[0], column) if len(first) == 1 else shares.iloc[0]
    yield (
        f"{'' if settled else 'By the estimates '}{_names(first)} {most}: {interval} of the settings come "
        f"{within} of any family."
    )
    yield f"The share is smallest for {_names(ranked[shares == shares.iloc[-1]])}: {shares.iloc[-1]}."
    if len(above):
        yield from _separated(first, others, above, f"{column}_high")


def _separated(first: pd.DataFrame, others: pd.DataFrame, above: pd.DataFrame, high: str) -> Iterator[str]:
    """Which families the interval of the first lies above, and which it does not."""
    whose = "Its interval lies" if len(first) == 1 else "Their intervals lie"
    yield f"{whose} above those of {'all others' if len(above) == len(others) else _names(above)}."
    near = others[~others["family"].isin(set(above["family"])) & others[high].notna()]
    if len(near):
        yield f"The data do not separate {_names(near)} from {'it' if len(first) == 1 else 'them'}."
    unknown = others[others[high].isna()]
    if len(unknown):
        yield f"There is no interval for {_names(unknown)}."


def _best(results: Results) -> Iterator[str]:
    """The value that tuning reaches over all families, and which are highest as far as one can tell."""
    scores, shown = _trained(results), quantity(results.table.outcome)
    if "best" not in scores or not scores["best"].notna().any():
        return
    overall = results.measures[(results.measures["measure"] == "best") & (results.measures["family"] == "")]
    value = float(overall["estimate"].iloc[0]) if len(overall) else math.nan
    if math.isfinite(value):
        yield (
            f"Family and setting both chosen on other seeds, tuning reaches a {shown.label} of {shown.text(value)}: "
            "distances from the best of all are measured from there."
        )
    minimize = results.table.direction == "minimize"
    ranked = scores.dropna(subset=["best"]).sort_values("best", ascending=minimize, kind="stable")
    texts = ranked["best"].map(shown.text)
    tied, others = ranked[texts == texts.iloc[0]], ranked[texts != texts.iloc[0]]
    if len(ranked) > 1:
        interval = _brackets(tied.iloc[0], "best", shown) if len(tied) == 1 else ""
        what = "lowest" if minimize else "highest"
        verb = "is" if len(tied) == 1 else "are"
        yield f"{_names(tied)} {verb} {what} by the estimates: {texts.iloc[0]}{interval}."
        least, most = tied["best_low"].min(), tied["best_high"].max()
        near = others[(others["best_low"] <= most) & (others["best_high"] >= least)]
        if len(near):
            whom = "all others" if len(near) == len(others) else _names(near)
            yield f"The intervals of {whom} overlap {'it' if len(tied) == 1 else 'these'}."
    if len(tied) == 1:
        row = tied.iloc[0]
        place = setting(results.chosen.get((str(row["dataset"]), str(row["family"])), {}))
        if place:
            yield f"Its setting chosen on all seeds is {place}."


def _untrained(results: Results, dataset: str) -> Iterator[str]:
    """Whether training beats no training, and for which share of the settings it does not."""
    level = untrained_level(results.table, dataset, results.table.outcome)
    if level is None:
        return
    shown, minimize = quantity(results.table.outcome), results.table.direction == "minimize"
    yield f"An untrained encoder scores {shown.text(level.estimate)}{_level_brackets(level, shown)}."
    settings = setting_means(results.table, dataset)
    if not len(settings):
        return
    lower = settings["mean"] > level.estimate if minimize else settings["mean"] < level.estimate
    worse = int((lower | settings["always_failed"].astype(bool)).sum())
    total = counted(len(settings), "trained setting")
    if worse:
        verb = "is" if worse == 1 else "are"
        yield f"By their means alone, {worse} of {total} ({share(worse / len(settings))}) {verb} worse than that."
    else:
        yield f"By their means alone, all of {total} are better than that."
    yield from _not_above(results, level, minimize=minimize)


def _not_above(results: Results, level: Level, *, minimize: bool) -> Iterator[str]:
    """Families whose best setting cannot be told from no training."""
    scores = _trained(results)
    if "best" not in scores:
        return
    scores = scores.dropna(subset=["best"])
    near, far = ("best_high", level.low) if minimize else ("best_low", level.high)
    below = scores["best"] >= level.estimate if minimize else scores["best"] <= level.estimate
    unclear = ~below & (scores[near] >= far if minimize else scores[near] <= far)
    if below.any():
        yield f"The best setting of {_names(scores[below])} is no better than untrained by the estimates."
    if unclear.any():
        yield f"For the best setting of {_names(scores[unclear])} the intervals do not exclude that training gained"
        yield "nothing."
    unknown = scores[~below & scores[near].isna()]
    if len(unknown):
        yield f"For {_names(unknown)} there is no interval to tell."


def _failures(results: Results, dataset: str) -> Iterator[str]:
    table = results.table
    trials = table.trials[table.trials["dataset"] == dataset]
    failed = trials[has_failed(trials)]
    if trials.empty:
        yield "No trained encoder has finished yet."
    elif failed.empty:
        yield f"None of the {len(trials):,} trials failed." if len(trials) > 1 else "The only trial ended well."
    else:
        counts = {family: int((failed["family"] == family).sum()) for family in table.axes}
        by_family = shortened([f"{family} {count:,}" for family, count in counts.items() if count])
        floor = quantity(table.outcome).text(table.floor_of(dataset, table.outcome))
        yield (
            f"{len(failed):,} of {counted(len(trials), 'trial')} failed ({by_family}); in this outcome they "
            f"count as {floor}."
        )


def _trained(results: Results) -> pd.DataFrame:
    scores = results.scorecard
    return scores if scores.empty else scores[~scores["is_baseline"].astype(bool)]


def _names(scores: pd.DataFrame) -> str:
    return shortened([str(family) for family in scores["family"]])


def _missing_mass(results: Results) -> str:
    rows = results.measures
    if rows.empty:
        return "no trial ended well"
    rows = rows[(rows["measure"] == "near_optimal_mass") & (rows["reference"] == "common")]
    reasons = [str(reason) for reason in rows["reason"] if reason]
    return reasons[0].split(";")[0] if reasons else "there are too few trials"


def _with_interval(row: "pd.Series[float]", column: str) -> str:
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    interval = f" ({share(low)} to {share(high)})".replace(" % to", " to") if math.isfinite(low) else ""
    return share(row[column]) + interval


def _brackets(row: "pd.Series[float]", column: str, shown: Quantity) -> str:
    return _level_brackets(Level(row[column], row[f"{column}_low"], row[f"{column}_high"]), shown)


def _level_brackets(level: Level, shown: Quantity) -> str:
    if not math.isfinite(level.low):
        return ""
    return f" ({shown.number(level.low)} to {shown.number(level.high)})"
