"""The validated study file: which losses, over which axes, on which data."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from search_spaces.axes import Axis, StudyError, check_levels, default_axis, fixed_axis, parse_axis, suggestion
from search_spaces.documents import read_document
from search_spaces.families import HYPERPARAMETERS, UNTRAINED, find_space
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES, Space
from search_spaces.sections import Analysis, Data, Design, Evaluation, Model, Pack, Resources, StudyFile, Training

MOST_SEEDS = 1_000_000


@dataclass(frozen=True)
class Family:
    """One loss with its own axes, those that it shares with others left out."""

    label: str
    loss: str
    axes: Mapping[str, Axis]
    space: Space

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """The names of the loss's own hyperparameters; none for `untrained`."""
        return tuple(self.space.hyperparameters)


@dataclass(frozen=True)
class Study:
    """A study file that was read and found right. `source` names it in messages."""

    source: str
    name: str
    data: Data
    model: Model
    training: Training
    evaluation: Evaluation
    design: Design
    seeds: tuple[int, ...]
    axes: Mapping[str, Axis]
    families: Mapping[str, Family]
    resources: Resources
    pack: Pack
    analysis: Analysis

    def written(self) -> dict[str, Any]:
        """The study as plain data with every default written out; `parse_study` reads it back."""
        sections = ("data", "model", "training", "evaluation", "design", "resources", "pack", "analysis")
        plain = {section: getattr(self, section).model_dump(exclude_none=True) for section in sections}
        families = {
            label: {"loss": family.loss, **{name: axis.written() for name, axis in family.axes.items()}}
            for label, family in self.families.items()
        }
        axes = {name: axis.written() for name, axis in self.axes.items()}
        return {"name": self.name, **plain, "seeds": list(self.seeds), "axes": axes, "families": families}


def shipped_studies() -> dict[str, str]:
    """The names of the studies that ship, each with its text."""
    folder = files("search_spaces") / "studies"
    texts = {entry.name[:-5]: entry for entry in folder.iterdir() if re.fullmatch(r"\w[\w.-]*\.yaml", entry.name)}
    return {name: texts[name].read_text("utf-8") for name in sorted(texts)}


def load_study(name_or_path: str | Path) -> Study:
    """Read a study by the name of one that ships, or by its path.

    Raises:
        StudyError: one line with the place, the rule and the value.
    """
    source = str(name_or_path)
    shipped = shipped_studies()
    if source in shipped and not Path(source).is_file():
        return parse_study(read_document(source, shipped[source]), source)
    path = Path(source)
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        raise StudyError(f"{source}: no shipped study and no file of this name{suggestion(source, shipped)}")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text file"
        raise StudyError(f"{source}: can't read the study file: {reason}") from None
    return parse_study(read_document(source, text), source)


def parse_study(raw: Any, source: str, spaces: Mapping[str, Space] | None = None) -> Study:
    """Check plain data against every rule of the study file.

    Args:
        raw: what the file holds.
        source: begins each message.
        spaces: default spaces by loss, where they are known otherwise than from this program and its plug-ins.

    Raises:
        StudyError: one line with the place, the rule and the value.
    """
    if not isinstance(raw, dict):
        raise StudyError(f"{source}: expected a mapping with name, data and families, got {raw!r}"[:300])
    try:
        file = StudyFile.model_validate(raw)
    except ValidationError as error:
        raise StudyError(f"{source}: {_first_line(error)}") from None
    sections = {key: getattr(file, key) for key in StudyFile.model_fields if key not in ("seeds", "axes", "families")}
    found = {label: _space(source, label, spec, spaces or {}) for label, spec in file.families.items()}
    axes = _axes(source, file.axes, found.values())
    families = {label: _family(source, label, spec, axes, found[label]) for label, spec in file.families.items()}
    study = Study(source=source, seeds=_seeds(source, file.seeds), axes=axes, families=families, **sections)
    _check_whole(study)
    return study


def _loss(label: str, raw: Any) -> str:
    return str(raw.get("loss", label)) if isinstance(raw, dict) else label


def _space(source: str, label: str, raw: Any, known: Mapping[str, Space]) -> Space:
    loss = _loss(label, raw)
    try:
        return known[loss] if loss in known else find_space(loss)
    except StudyError as error:
        raise StudyError(f"{source}: families.{label}: {error}") from None


def _axes(source: str, raw: dict[str, Any], spaces: Collection[Space]) -> dict[str, Axis]:
    known = {name: axis for space in spaces for name, axis in space.hyperparameters.items()} | dict(HYPERPARAMETERS)
    axes = {}
    for name, spec in raw.items():
        if name not in known:
            raise StudyError(f"{source}: axes.{name}: no axis of this name{suggestion(name, known)}")
        hyperparameter = known[name]
        if name not in PACK_AXES and name not in TRAINING_AXES:
            # Which values a loss takes is for each family of the study to say, once they are known.
            hyperparameter = replace(hyperparameter, above=None, least=None, below=None)
        axes[name] = parse_axis(f"{source}: axes.{name}", name, spec, hyperparameter)
    return axes


def _family(source: str, label: str, raw: Any, shared: Mapping[str, Axis], space: Space) -> Family:
    place = f"{source}: families.{label}"
    if raw == "default" or raw is None:
        raw = {} if raw is None else "default"
    elif not isinstance(raw, dict):
        raise StudyError(f"{place}: expected 'default' or a mapping of hyperparameters, got {raw!r}")
    loss = _loss(label, raw)
    if loss == UNTRAINED:
        if isinstance(raw, dict) and set(raw) - {"loss"}:
            raise StudyError(f"{place}: untrained has no hyperparameters, got {sorted(set(raw) - {'loss'})}")
        return Family(label, loss, {}, space)
    own = space.hyperparameters
    private = {name: axis for name, axis in own.items() if name not in shared}
    if raw == "default":
        return Family(label, loss, {name: default_axis(name, axis) for name, axis in private.items()}, space)
    axes = {name: fixed_axis(name, axis) for name, axis in private.items()}
    allowed = {**own, **TRAINING_AXES}
    for name, spec in raw.items():
        if name == "loss":
            continue
        if name not in allowed:
            raise StudyError(f"{place}.{name}: {loss} has no such hyperparameter{suggestion(str(name), allowed)}")
        if name in shared:
            raise StudyError(f"{place}.{name}: already in 'axes', shared by all families; remove one of the two")
        axes[name] = parse_axis(f"{place}.{name}", name, spec, allowed[name])
    return Family(label, loss, axes, space)


def _seeds(source: str, raw: int | list[int]) -> tuple[int, ...]:
    if isinstance(raw, int) and raw > MOST_SEEDS:
        raise StudyError(f"{source}: seeds: expected at most {MOST_SEEDS:,}, got {raw:,}")
    seeds = tuple(range(raw)) if isinstance(raw, int) else tuple(raw)
    if not seeds:
        raise StudyError(f"{source}: seeds: the study plans 0 trials; expected at least one seed, got {raw!r}")
    if len(set(seeds)) < len(seeds) or max(seeds) >= 2**63:
        raise StudyError(f"{source}: seeds: expected different whole numbers below 2**63, got {raw!r}")
    return seeds


def _check_whole(study: Study) -> None:
    if not study.families:
        raise StudyError(f"{study.source}: families: the study plans 0 trials; expected at least one family")
    if not study.data.datasets:
        raise StudyError(f"{study.source}: data.dataset: the study plans 0 trials; expected at least one data set")
    for name in study.axes:
        known = {*PACK_AXES, *TRAINING_AXES, *(n for f in study.families.values() for n in f.hyperparameters)}
        if name not in known:
            raise StudyError(
                f"{study.source}: axes.{name}: no family of this study has it{suggestion(name, list(known))}"
            )
    for family in study.families.values():
        for name in set(study.axes) & set(family.hyperparameters):
            place = f"{study.source}: axes.{name}: {family.label}"
            check_levels(place, study.axes[name], family.space.hyperparameters[name])
    reference = study.analysis.reference
    if reference is not None and reference not in study.families:
        hint = suggestion(reference, study.families)
        raise StudyError(f"{study.source}: analysis.reference: no family of this study{hint}")
    _check_design(study)


def _check_design(study: Study) -> None:
    place, design = f"{study.source}: design", study.design
    longest = max(len(axes) for axes in (study.axes, *(family.axes for family in study.families.values())))
    if design.kind in ("sobol", "random") and longest > 16:
        raise StudyError(f"{place}.kind: scattered designs take at most 16 shared and 16 private axes")
    trained = [family for family in study.families.values() if family.loss != UNTRAINED]
    axes = [axis for family in trained for axis in (*study.axes.values(), *family.axes.values())]
    if design.adaptive and not any(axis.varies for axis in axes):
        rule = f"a {design.kind} design needs an axis with a range or several values, and no family has one"
        raise StudyError(f"{place}.kind: {rule}")
    if design.scheduler is not None and study.evaluation.every is None:
        rule = f"{design.scheduler} needs evaluation.every, after how many epochs it compares trials"
        raise StudyError(f"{place}.scheduler: {rule}; got none")


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    place, message = ".".join(parts), str(first["msg"])
    if first["type"] == "extra_forbidden":
        return f"{place}: no such key{suggestion(parts[-1], _known_keys(parts[:-1]))}"
    if first["type"] == "missing":
        return f"{place}: this key is missing"
    message = message.removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{place}: {message}"
    return f"{place}: {message[0].lower()}{message[1:]}, got {first['input']!r}"


def _known_keys(parents: list[str]) -> list[str]:
    section: type[BaseModel] = StudyFile
    for parent in parents:
        annotation = section.model_fields[parent].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        section = annotation
    return list(section.model_fields)
