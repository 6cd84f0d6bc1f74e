"""Which studies are one table: those that differ in nothing but families, seeds and data sets."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.table.store import Stored, datasets_of
from search_spaces import Study
from search_spaces.datasets import known_dataset

_SPEED = {"micro_batch", "tile", "channels_last", "compile"}
"""Of training: what changes how fast a trial runs, and not its result."""

_PASSING = {"every", "keep"}
"""Of evaluation: what is looked at on the way, and what is kept."""


def pooled(studies: Sequence[Stored]) -> list[list[Stored]]:
    """Put studies together that may be compared trial by trial, in the order given.

    Each joins the first group of which it differs from no member (`difference`); what is left alone stands side by
    side with the others.
    """
    groups: list[list[Stored]] = []
    for study in studies:
        fitting = (group for group in groups if not any(difference(member, study) for member in group))
        group = next(fitting, None)
        if group is None:
            groups.append([study])
        else:
            group.append(study)
    return groups


def difference(one: Stored, other: Stored) -> str:
    """The first thing because of which two studies can't be pooled; empty where they can.

    They must agree in the model, in training (but for what changes only its speed) and in what is evaluated, in the
    shared axes and the kind of design, in the outcome and the protocol; in the views of the data sets, and in the
    definition of the families, that both have.
    """
    sides = [_conditions(side) for side in (one, other)]
    for place in dict.fromkeys([*sides[0], *sides[1]]):
        if place.startswith(("data.", "families.")) and not all(place in side for side in sides):
            continue
        values = [side.get(place, "absent") for side in sides]
        if values[0] != values[1]:
            known = all(isinstance(value, str | int | float) for value in values)
            return f"{place} ({values[0]}; {values[1]})" if known else place
    return ""


def relations(groups: Sequence[Sequence[Stored]], names: Sequence[str]) -> list[str]:
    """In sentences, which studies are pooled, and because of what others are not.

    Args:
        groups: as `pooled` puts them together.
        names: of the groups.
    """
    together = [
        f"{name}: {len(group)} studies, pooled, as they differ in nothing but families, seeds and data sets."
        for group, name in zip(groups, names, strict=True)
        if len(group) > 1
    ]
    apart = [
        f"{name} stands beside {names[0]}: they differ in {difference(groups[0][0], group[0])}."
        for group, name in zip(groups[1:], names[1:], strict=True)
    ]
    return together + apart


def _conditions(stored: Stored) -> Mapping[str, Any]:
    """Place in the study file -> value, of everything that pooled studies share."""
    return dict(_places(stored.study)) | dict(_data_sets(stored)) | {"protocol": _protocols(stored)}


def _places(study: Study) -> Iterator[tuple[str, Any]]:
    written = study.written()
    sections = {
        "model": written["model"],
        "training": {name: value for name, value in written["training"].items() if name not in _SPEED},
        "evaluation": {name: value for name, value in written["evaluation"].items() if name not in _PASSING},
        "design": {"kind": study.design.kind},
        "analysis": {name: written["analysis"][name] for name in ("outcome", "direction")},
        "axes": written["axes"],
        "families": written["families"],
    }
    for section, values in sections.items():
        for name, value in values.items():
            yield f"{section}.{name}", sorted(value) if name == "probes" else value


def _data_sets(stored: Stored) -> Iterator[tuple[str, Any]]:
    """Of files the content counts, not the name."""
    known = datasets_of(stored.planned)
    for name in stored.study.data.datasets:
        found = known.get(name) or known_dataset(name)
        yield f"data.{name}", found
        preset = stored.study.data.augmentation or (found.augmentation if found else "")
        yield f"data.{name}.augmentation", preset


def _protocols(stored: Stored) -> str:
    return ", ".join(str(version) for version in sorted(stored.rows["protocol_version"].dropna().unique()))
