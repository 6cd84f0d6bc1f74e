"""The answer in sentences, claiming no more than the intervals support."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.figures import Level
from analysis.labels import Quantity, counted, listed, quantity, share
from analysis.report.results import Results, has_failed, setting_means, untrained_level
from search_spaces.families import UNTRAINED


def answer(results: Results, dataset: str) -> list[str]:
    """What one data set says about the question of the study."""
    return [*_mass(results), *_best(results), *_untrained(results, dataset), *_failures(results, dataset)]


def _mass(results: Results) -> Iterator[str]:
    """Which family asks for the least tuning, and whether the data can tell."""
    shown, tolerance = quantity(results.table.outcome), results.middle_tolerance
    column = f"near_optimal_mass_{tolerance:g}"
    scores = _trained(results)
    if column not in scores or not scores[column].notna().any():
        if len(results.table.trials):
            yield f"How sensitive the losses are cannot be told yet: {_missing_mass(results)}."
        return
    ranked = scores.dropna(subset=[column]).sort_values(column, ascending=False, kind="stable")
    first, last = ranked.iloc[0], ranked.iloc[-1]
    within = f"within {shown.difference(tolerance)} of the best {shown.label}"
    if len(ranked) == 1:
        yield f"{_with_interval(first, column)} of the settings of {first['family']} come {within}."
    elif share(first[column]) == share(last[column]):
        yield f"The estimates do not differ: in every loss {share(first[column])} of the settings come {within}."
    else:
        yield from _order(ranked, column, within)


def _order(ranked: pd.DataFrame, column: str, within: str) -> Iterator[str]:
    """First and last of the losses, as a fact only where the intervals support it."""
    first, others = ranked.iloc[0], ranked.iloc[1:]
    last, low = ranked.iloc[-1], first[f"{column}_low"]
    above = others[others[f"{column}_high"] < low]
    near = [str(family) for family in others["family"] if family not in set(above["family"])]
    numbers = (
        f"{_with_interval(first, column)} of the settings of {first['family']} come {within} of any loss, "
        f"{_with_interval(last, column)} of those of {last['family']}"
    )
    if above.empty:
        yield f"Which loss needs the least tuning is not settled: by the estimates, {numbers}, but"
        yield "all intervals overlap that of the first." if math.isfinite(low) else "there are no intervals."
    elif near:
        yield f"{first['family']} needs the least tuning by the estimates: {numbers}."
        below = listed([str(family) for family in above["family"]])
        yield f"Its interval lies above those of {below}; it overlaps those of {listed(near)},"
        yield "so the data do not separate these."
    else:
        yield f"{first['family']} needs the least tuning: {numbers}."
        yield "Its interval lies above those of all others."


def _best(results: Results) -> Iterator[str]:
    """The highest value that tuning reaches, and which others reach it too as far as one can tell."""
    scores, shown = _trained(results), quantity(results.table.outcome)
    if "best" not in scores or not scores["best"].notna().any():
        return
    minimize = results.table.direction == "minimize"
    ranked = scores.dropna(subset=["best"]).sort_values("best", ascending=minimize, kind="stable")
    top, others = ranked.iloc[0], ranked.iloc[1:]
    setting = str(top["best_setting"]).replace("_", " ").replace("=", " ")
    at = f" at {setting}" if setting else ""
    value = f"{shown.text(top['best'])}{_brackets(top, 'best', shown)}"
    overlap = (others["best_low"] <= top["best_high"]) & (others["best_high"] >= top["best_low"])
    near = [str(family) for family in others.loc[overlap, "family"]]
    everyone = len(near) == len(others)
    same = f"; the intervals of {'all others' if everyone else listed(near)} overlap it" if near else ""
    yield f"The best {shown.label} after tuning is {value}, by {top['family']}{at}{same}."


def _untrained(results: Results, dataset: str) -> Iterator[str]:
    """Whether training beats no training, and for which share of the settings it does not."""
    level = untrained_level(results.table, dataset, results.table.outcome)
    if level is None:
        return
    shown, minimize = quantity(results.table.outcome), results.table.direction == "minimize"
    yield f"An untrained encoder scores {shown.text(level.estimate)}{_level_brackets(level, shown)}."
    means = np.concatenate(list(setting_means(results.table, dataset).values()) or [np.empty(0)])
    if not len(means):
        return
    worse = int((means > level.estimate).sum() if minimize else (means < level.estimate).sum())
    if worse:
        yield (
            f"{worse} of {counted(len(means), 'trained setting')} ({share(worse / len(means))}) "
            f"{'scores' if worse == 1 else 'score'} worse than that on average."
        )
    else:
        yield f"The mean of each of the {counted(len(means), 'trained setting')} is better than that."
    yield from _not_above(results, level, minimize=minimize)


def _not_above(results: Results, level: Level, *, minimize: bool) -> Iterator[str]:
    """Families whose best setting cannot be told from no training."""
    scores = _trained(results)
    if "best_low" not in scores or not math.isfinite(level.low):
        return
    near = scores["best_low"] if not minimize else scores["best_high"]
    unclear = scores[near >= level.low] if minimize else scores[near <= level.high]
    if len(unclear):
        names = listed([str(family) for family in unclear["family"]])
        yield f"For the best setting of {names} the intervals do not exclude that training gained nothing."


def _failures(results: Results, dataset: str) -> Iterator[str]:
    table = results.table
    trials = table.trials[table.trials["dataset"] == dataset]
    failed = trials[has_failed(trials)]
    if trials.empty:
        yield "No trained encoder has finished yet."
    elif failed.empty:
        yield f"None of the {counted(len(trials), 'trial')} failed."
    else:
        counts = failed["family"].value_counts(sort=False)
        by_family = listed([f"{family} {counts[family]:,}" for family in table.axes if family in counts])
        floor = quantity(table.outcome).text(table.floor_of(dataset, table.outcome))
        yield (
            f"{len(failed):,} of {counted(len(trials), 'trial')} failed ({by_family}); in every number they "
            f"count as {floor}."
        )


def _trained(results: Results) -> pd.DataFrame:
    scores = results.scorecard
    return scores if scores.empty else scores[scores["family"] != UNTRAINED]


def _missing_mass(results: Results) -> str:
    rows = results.measures
    if rows.empty:
        return "no trial ended well"
    rows = rows[(rows["measure"] == "near_optimal_mass") & (rows["reference"] == "common")]
    reasons = [str(reason) for reason in rows["reason"] if reason]
    return reasons[0] if reasons else "there are too few trials"


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
