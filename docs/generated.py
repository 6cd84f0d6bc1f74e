"""The tables of the reference pages, made from the code when the site is built: a hook of MkDocs.

A line `<!-- generated: NAME -->` in a page becomes what `PARTS[NAME]()` returns.
"""

import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import typer

from analysis.report.descriptions import COLUMNS, MEASURES
from robustness.cli import app
from robustness.losses import LOSSES, PairwiseLoss
from robustness.store import HISTORY_SCHEMA, PLAN_SCHEMA, TRIALS_SCHEMA
from robustness.store.descriptions import DESCRIPTIONS
from robustness.theory import STATEMENTS
from robustness.theory.verdicts import bounds
from search_spaces import Choice, Hyperparameter, load_study, shipped_studies
from search_spaces.datasets import DATASETS
from search_spaces.families import SPACES
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES
from search_spaces.sections import StudyFile

MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)

FUNCTIONS = (
    "search_spaces.load_study",
    "robustness.plan.plan",
    "robustness.sweep.sweep",
    "robustness.store.read",
    "robustness.store.read_history",
    "analysis.table.store.from_store",
    "analysis.table.tidy.from_file",
    "analysis.table.tidy.from_frame",
    "analysis.robustness.measures",
    "analysis.robustness.scorecard",
    "analysis.robustness.mass_curve",
    "analysis.sensitivity.indices",
    "analysis.comparison.compare",
    "analysis.comparison.transfer.transfer",
    "analysis.collapse.collapse",
    "analysis.surfaces.surfaces",
    "analysis.surfaces.profiles.profiles",
    "analysis.report.write",
    "analysis.report.write_table",
)
"""Public functions that the reference lists, in the order of a study's life."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of every page."""
    return MARK.sub(lambda found: PARTS[found[1]](), markdown)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a cell may be empty."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text as it is: nothing in it is markup but code spans."""
    pieces = re.split(r"(`[^`]*`)", text.replace("|", "\\|"))
    pieces[::2] = [re.sub(r"([*_])", r"\\\1", piece.replace("<", "&lt;")) for piece in pieces[::2]]
    return "".join(pieces)


def code(value: Any) -> str:
    """As code; nothing for nothing."""
    return "" if value is None or value == "" else f"`{value}`"


def schema_table(schema: pa.Schema) -> str:
    """Every column of a stored table."""
    rows = ((code(field.name), str(field.type), DESCRIPTIONS[field.name]) for field in schema)
    return table(("column", "type", "what it holds"), rows)


def report_tables() -> str:
    """Every column of every table of the report, and what stands under `measure`."""
    parts = []
    for file, columns in COLUMNS.items():
        described = ((code(name), text) for name, text in columns.items())
        parts += [f"### {file}", table(("column", "what it holds"), described)]
        if file in MEASURES:
            measures = ((code(name), text) for name, text in MEASURES[file].items())
            parts += [f"Measures in `{file}`:", table(("measure", "what it is"), measures)]
    return "\n\n".join(parts)


def commands() -> str:
    """Every command with its arguments and options."""
    group: Any = typer.main.get_command(app)
    return "\n\n".join(_command(name, command) for name, command in group.commands.items())


def _command(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    words = [one.metavar if one.required else f"[{one.metavar}]" for one in arguments]
    usage = " ".join(["robustness", name, *words, *(["[OPTIONS]"] if options else [])])
    rows = [(code(one.metavar), one.help) for one in arguments]
    rows += [(code(_option(one)), _meaning(one)) for one in options]
    listed = [table(("argument or option", "meaning"), rows)] if rows else []
    return "\n\n".join([f"## {name}", command.help, f"```text\n{usage}\n```", *listed])


def _option(option: Any) -> str:
    names = "/".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.metavar or 'VALUE'}"


def _meaning(option: Any) -> str:
    shown = option.default is not None and not option.is_flag
    notes = ["[required]"] if option.required else [f"[default: {option.default}]"] if shown else []
    return " ".join([option.help or "", *notes])


def study_keys() -> str:
    """Every key of a study file, section by section."""
    schema = StudyFile.model_json_schema()
    parts = ["## The whole file", _keys(schema)]
    for key, field in schema["properties"].items():
        section = schema["$defs"].get(field.get("$ref", "").rpartition("/")[2])
        if section is not None:
            parts += [f"## {key}", section["description"], _keys(section)]
    return "\n\n".join(parts)


def _keys(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    rows = (
        (code(name), _type(field), _default(name, field, required), field["description"])
        for name, field in schema["properties"].items()
    )
    return table(("key", "value", "default", "meaning"), rows)


def _default(name: str, field: Mapping[str, Any], required: Sequence[str]) -> str:
    if name in required:
        return "required"
    default = field.get("default")
    return "" if default is None or "$ref" in field else code(json.dumps(default, ensure_ascii=False).strip('"'))


def _type(field: Mapping[str, Any]) -> str:
    """What a value may be, in words, from its JSON Schema."""
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"] if one.get("type") != "null")
    if "$ref" in field:
        return "a section"
    if "enum" in field or "const" in field:
        return ", ".join(code(value) for value in field.get("enum", [field.get("const")]))
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true` or `false`"}
    if field["type"] == "array":
        return f"list of: {_type(field['items'])}"
    if field["type"] == "object":
        return "mapping"
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}
    limits = [f"{words} {field[key]:g}" for key, words in bounds.items() if key in field]
    return " ".join([names[field["type"]], ", ".join(limits)]).strip()


def shared_axes() -> str:
    """Axes that belong to no loss."""
    return _hyperparameters({**PACK_AXES, **TRAINING_AXES})


def families() -> str:
    """Every built-in family with its default space and its formula."""
    return "\n\n".join(_family(name) for name in SPACES)


def _family(name: str) -> str:
    space, formula = SPACES[name], LOSSES[name].formula
    rule = formula.rule if isinstance(formula, PairwiseLoss) else formula
    parts = [f"## {name}", f"{_cell(space.summary[0].upper() + space.summary[1:])}."]
    if isinstance(formula, PairwiseLoss):
        sides = ", anchors in view 1 only" if formula.one_sided else ""
        parts.append(f"Negatives: {formula.negatives}{sides}.")
    parts.append(_hyperparameters(space.hyperparameters) if space.hyperparameters else "No hyperparameter.")
    text = "\n".join(f"    {line}".rstrip() for line in f"```text\n{inspect.getdoc(rule)}\n```".splitlines())
    return "\n\n".join([*parts, f'??? note "Formula and source"\n{text}'])


def _hyperparameters(named: Mapping[str, Hyperparameter]) -> str:
    rows = ((code(name), _range(one), _plain(one.default), one.reason, one.source) for name, one in named.items())
    return table(("axis", "default range", "where not named", "why this range", "source"), rows)


def _range(one: Hyperparameter) -> str:
    if isinstance(one.dimension, Choice):
        return ", ".join(map(str, one.dimension.values))
    return f"{one.dimension.low:g} to {one.dimension.high:g}, {one.dimension.scale}, {one.levels} levels"


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def functions() -> str:
    """Signature and docstring of the public functions."""
    return "\n\n".join(_function(name) for name in FUNCTIONS)


def _function(place: str) -> str:
    module, _, name = place.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    signature = inspect.signature(found)
    plain = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    shown = signature.replace(parameters=plain, return_annotation=signature.empty)
    return f"## {place}\n\n```python\n{name}{shown}\n```\n\n```text\n{inspect.getdoc(found)}\n```"


def studies() -> str:
    """Every study that ships and what it asks."""
    rows = []
    for name, text in shipped_studies().items():
        comment = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
        study = load_study(name)
        rows.append((code(name), ", ".join(study.data.datasets), str(len(study.families)), " ".join(comment)))
    return table(("study", "data", "families", "what it asks"), rows)


def datasets() -> str:
    """Every known data set."""
    rows = (
        (code(name), one.summary, f"{one.num_train:,}", f"{one.num_test:,}", str(one.num_classes), one.augmentation)
        for name, one in DATASETS.items()
    )
    return table(("data set", "what it is", "training images", "test images", "classes", "views"), rows)


def theory() -> str:
    """Every statement with what was measured, from the file that `robustness theory --out` wrote beside this one."""
    measured = pd.read_csv(Path(__file__).with_name("theory.csv"))
    parts = []
    for name, rows in measured.groupby("statement", sort=False):
        told = STATEMENTS[str(name)]
        listed = ((row["quantity"], f"{row['measured']:.6g}", bounds(row)) for _, row in rows.iterrows())
        inner = "\n".join(f"    {line}" for line in table(("measured", "", "must be"), listed).splitlines())
        held = "All" if rows["holds"].all() else f"{rows['holds'].sum()} of"
        parts += [
            f"### {name}. {told.claim}",
            f"*Source:* {told.source}.",
            f'??? note "{held} {len(rows)} measurements hold"\n\n{inner}',
        ]
    return "\n\n".join(["## What was measured", *parts])


def findings() -> str:
    """The rows of the studies' tables that the page of findings rests on."""
    rows = pd.read_csv(Path(__file__).with_name("findings.csv"))
    lines = (
        (row["id"], code(row["study"]), code(row["file"]), row["row"], row["outcome"],
         *(f"{row[name]:.4f}" for name in ("estimate", "low", "high")))
        for _, row in rows.iterrows()
    )  # fmt: skip
    return table(("", "study", "table", "row", "outcome", "estimate", "low", "high"), lines)


PARTS: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "datasets": datasets,
    "families": families,
    "findings": findings,
    "functions": functions,
    "history": lambda: schema_table(HISTORY_SCHEMA),
    "plan": lambda: schema_table(PLAN_SCHEMA),
    "report_tables": report_tables,
    "shared_axes": shared_axes,
    "studies": studies,
    "study_keys": study_keys,
    "theory": theory,
    "trials": lambda: schema_table(TRIALS_SCHEMA),
}
"""What a page may ask for."""
