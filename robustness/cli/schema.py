"""JSON Schema of the study file: sections as their models have them, axes and families as their spaces have them."""

from typing import Any, get_args

from search_spaces import Hyperparameter, Integer, Space
from search_spaces.dimensions import Choice, Scale
from search_spaces.families import HYPERPARAMETERS, SPACES, UNTRAINED, find_space
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES
from search_spaces.installed import SPACE_GROUP, announced
from search_spaces.sections import StudyFile

Schema = dict[str, Any]


def study_schema() -> Schema:
    """The schema of a study file, draft 2020-12, with the families of installed packages.

    It knows names, types and bounds of single values; rules between several values, like low < high, are checked
    when a study is read.
    """
    spaces = {name: find_space(name) for name in (*SPACES, *announced(SPACE_GROUP), UNTRAINED)}
    schema = StudyFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A study"
    schema["$defs"] |= {f"family_{loss}": _family(loss, space) for loss, space in spaces.items()}
    schema["properties"]["axes"] = _axes(spaces)
    schema["properties"]["families"] = _families(spaces)
    return schema


def _axes(spaces: dict[str, Space]) -> Schema:
    """Axes that families share: which values a loss takes, each family says for itself."""
    own = {name: axis for space in spaces.values() for name, axis in space.hyperparameters.items()}
    limited = {**PACK_AXES, **TRAINING_AXES}
    properties = {
        name: _axis(name, axis, bounds=_bounds(axis) if name in limited else {})
        for name, axis in {**own, **HYPERPARAMETERS}.items()
    }
    return {
        "type": "object",
        "description": "Axes that all families share which have them.",
        "properties": properties,
        "additionalProperties": False,
        "default": {},
    }


def _families(spaces: dict[str, Space]) -> Schema:
    """By label: a label that is no loss names its loss."""
    named: Schema = {
        "type": "object",
        "properties": {"loss": {"enum": list(spaces)}},
        "required": ["loss"],
        "allOf": [{"if": {"properties": {"loss": {"const": loss}}}, "then": _reference(loss)} for loss in spaces],
    }
    return {
        "type": "object",
        "description": "The losses, each with its own axes; `LABEL: {loss: NAME, ...}` lets one appear twice.",
        "properties": {loss: _labelled_by_loss(loss, space, named) for loss, space in spaces.items()},
        "additionalProperties": named,
        "minProperties": 1,
    }


def _labelled_by_loss(loss: str, space: Space, named: Schema) -> Schema:
    return {
        "description": space.summary,
        "if": {"type": "object", "required": ["loss"]},
        "then": named,
        "else": {"anyOf": [{"enum": ["default", None]}, _reference(loss)]},
    }


def _reference(loss: str) -> Schema:
    return {"$ref": f"#/$defs/family_{loss}"}


def _family(loss: str, space: Space) -> Schema:
    axes = {} if loss == UNTRAINED else {**space.hyperparameters, **TRAINING_AXES}
    properties = {name: _axis(name, axis, bounds=_bounds(axis)) for name, axis in axes.items()}
    return {
        "type": "object",
        "description": space.summary,
        "properties": {"loss": {"const": loss}, **properties},
        "additionalProperties": False,
    }


def _axis(name: str, hyperparameter: Hyperparameter, *, bounds: Schema) -> Schema:
    """A number or a category, a list of them or, unless it is the same for a whole pack, a range."""
    dimension = hyperparameter.dimension
    if isinstance(dimension, Choice) and dimension.scale is None:
        category: Schema = {"enum": list(dimension.values)}
        several = {"type": "array", "items": category, "minItems": 1, "uniqueItems": True}
        forms = [category, _mapping({"values": several}, {})]
        return {"description": hyperparameter.reason, "default": hyperparameter.default, "anyOf": forms}
    number = {"type": "integer" if name in PACK_AXES else "number", **bounds}
    scale = {"enum": list(get_args(Scale))}
    values = {"type": "array", "items": number, "minItems": 1, "uniqueItems": True}
    forms = [number, _mapping({"values": values}, {"scale": scale})]
    if name not in PACK_AXES:
        end = {**number, "type": "integer"} if isinstance(hyperparameter.dimension, Integer) else number
        levels = {"type": "integer", "minimum": 2, "default": hyperparameter.levels}
        forms.append(_mapping({"low": end, "high": end}, {"scale": scale, "levels": levels}))
    return {"description": hyperparameter.reason, "default": hyperparameter.default, "anyOf": forms}


def _mapping(required: Schema, optional: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def _bounds(hyperparameter: Hyperparameter) -> Schema:
    bounds = {
        "exclusiveMinimum": hyperparameter.above,
        "minimum": hyperparameter.least,
        "exclusiveMaximum": hyperparameter.below,
    }
    return {name: bound for name, bound in bounds.items() if bound is not None}
