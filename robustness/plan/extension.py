"""A study that was changed: it may add trials to a folder, and never drop any."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from robustness.plan.adaptive import known_configurations, suggested
from robustness.plan.checks import check
from robustness.plan.designs import Configuration
from robustness.plan.trials import cut_packs, without_packs
from robustness.store import Folder
from robustness.trial import PROTOCOL_VERSION
from search_spaces.axes import StudyError
from search_spaces.study import Study, parse_study

_DECIDE_RESULTS = ("data", "model", "training", "evaluation", "design")
_FREE = {"evaluation.every", "design.configurations", "design.scheduler"}
_PLACES = {"data.dataset", "data.npz", "data.imagefolder", "data.root", "data.download"}
"""Which images, and where they lie: trials know them by name and content."""


def extend(folder: Folder, planned: pd.DataFrame, written: dict[str, Any], study: Study) -> pd.DataFrame:
    """The plan of `folder` with the trials that `study` adds: old packs keep their members.

    Args:
        folder: named in messages.
        planned: the plan that the folder holds.
        written: the study that the folder holds, as plain data.
        study: the study as it is now.

    Raises:
        StudyError: the study no longer plans what the folder holds; says what is gone and what to do.
    """
    now = _planned_now(planned, written, study)
    _check_labels(planned, now, study)
    gone = planned[~planned["trial_id"].isin(now["trial_id"])]
    if len(gone):
        reasons = "; ".join(_reasons(written, study, gone, now)) or "their settings are others now"
        raise StudyError(
            f"{study.source}: {folder} holds another study ({len(gone)} of its {len(planned)} trials are not in "
            f"this one): {reasons}; choose another --out, or put it back"
        )
    added = now[~now["trial_id"].isin(planned["trial_id"])]
    if added.empty:
        return planned
    return pd.concat([planned, cut_packs(added, size=study.pack.size)], ignore_index=True)


def _planned_now(planned: pd.DataFrame, written: dict[str, Any], study: Study) -> pd.DataFrame:
    """What the study plans, and if it is adaptive what was suggested: the first ones where it was made smaller."""
    if not study.design.adaptive:
        return without_packs(study)
    before, most = written["design"].get("configurations"), study.design.configurations
    smaller = before is not None and most is not None and most < before
    configurations: dict[str, list[Configuration]] = {}
    for known in known_configurations(study, planned):
        configurations.setdefault(known.family, []).append(known.configuration)
    data = check(study)
    rows = [
        suggested(study, data, study.families[label], chosen[: most if smaller else None])
        for label, chosen in configurations.items()
    ]
    return pd.concat([without_packs(study), *rows], ignore_index=True)


def _check_labels(planned: pd.DataFrame, now: pd.DataFrame, study: Study) -> None:
    """A label is no part of a trial, but stored rows carry it: a family can't be renamed half way."""
    both = planned.merge(now, on="trial_id", suffixes=("", "_now"))
    renamed = both[both["family"] != both["family_now"]]
    if len(renamed):
        before, after = renamed.iloc[0]["family"], renamed.iloc[0]["family_now"]
        rule = f"{before} is now called {after}, and stored trials keep their label"
        raise StudyError(f"{study.source}: families: {rule}; call it {before}, or choose another --out")


def _reasons(written: dict[str, Any], study: Study, gone: pd.DataFrame, now: pd.DataFrame) -> Iterator[str]:
    """What changed, the most telling first: settings, then families, seeds and levels."""
    protocol = json.loads(gone["trial"].iloc[0])["protocol"]
    if protocol != PROTOCOL_VERSION:
        yield f"planned under protocol {protocol}, and this version's is {PROTOCOL_VERSION}: results would not compare"
        return
    old = parse_study(written, "study.yaml")
    before, after = old.written(), study.written()
    changed = [
        f"{key} {_short(value)} -> {_short(other)} is another study"
        for section in _DECIDE_RESULTS
        for key, value, other in _differences(section, before[section], after[section])
        if key not in _FREE | _PLACES
    ]
    if changed:
        yield from changed
        return
    yield from _dropped("data.dataset", old.data.datasets, study.data.datasets)
    yield from _changed_content(gone, now)
    yield from _dropped("seeds", old.seeds, study.seeds)
    yield from _dropped("families", old.families, study.families)
    for name, axis in old.axes.items():
        yield from _axis_change(f"axes.{name}", axis.written(), study.axes.get(name))
    for label, family in old.families.items():
        if label in study.families and family.loss != study.families[label].loss:
            yield f"families.{label}.loss {family.loss} -> {study.families[label].loss} is another loss"
        elif label in study.families:
            for name, axis in family.axes.items():
                yield from _axis_change(
                    f"families.{label}.{name}", axis.written(), study.families[label].axes.get(name)
                )
    configurations = (old.design.configurations or 0, study.design.configurations or 0)
    if configurations[1] < configurations[0]:
        yield f"design.configurations {configurations[0]} -> {configurations[1]} drops {len(gone)} trials"


def _changed_content(gone: pd.DataFrame, now: pd.DataFrame) -> Iterator[str]:
    """Files of the same name that hold other images; without a content, a known data set."""
    before, after = (_contents(rows) for rows in (gone, now))
    for name in before.keys() & after.keys():
        if before[name] != after[name]:
            found, planned = (content[:8] or "a known data set" for content in (after[name], before[name]))
            yield f"data: {name} has other images now, content {planned} -> {found}"


def _contents(rows: pd.DataFrame) -> dict[str, str]:
    first = rows.drop_duplicates("dataset")
    return {
        str(name): json.loads(text)["data"].get("content", "")
        for name, text in zip(first["dataset"], first["trial"], strict=True)
    }


def _differences(place: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from _differences(f"{place}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield place, before, after


def _dropped(place: str, before: Any, after: Any) -> Iterator[str]:
    missing = [str(value) for value in before if value not in set(after)]
    if missing:
        yield f"{place} drops {_listed(missing)}"


def _axis_change(place: str, before: Any, axis: Any) -> Iterator[str]:
    after = axis.written() if axis is not None else None
    if before == after:
        return
    if not isinstance(before, dict) or not isinstance(after, dict):
        yield f"{place} {_short(before)} -> {_short(after)} is another axis"
        return
    old_levels = before.get("values", before.get("levels"))
    if "values" in before and "values" in after:
        yield from _dropped(place, before["values"], after["values"])
    elif isinstance(old_levels, int) and {**before, "levels": 0} == {**after, "levels": 0}:
        count = after["levels"]
        yield (
            f"{place}: levels {old_levels} -> {count} drops levels; "
            f"use {2 * old_levels - 1}, which keeps them all, or values"
        )
    else:
        yield f"{place} {_short(before)} -> {_short(after)} is another axis"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _short(value: Any) -> str:
    if value is None:
        return "(none)"
    text = str(value) if not isinstance(value, dict) else ", ".join(f"{k} {v}" for k, v in value.items())
    return text if len(text) <= 60 else f"{text[:57]}..."
