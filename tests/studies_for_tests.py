import copy
from typing import Any

from search_spaces import Study, load_study, parse_study

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"dataset": "digits"},
    "training": {"updates": 5},
    "seeds": 2,
    "axes": {"batch_size": {"values": [64, 256]}},
    "families": {
        "nt_xent": {"temperature": {"values": [0.1, 0.5]}},
        "dhel": {"temperature": {"values": [0.1, 0.5]}},
        "untrained": "default",
    },
}

MANY = {
    "training": {"updates": 150},
    "evaluation": {"probes": ["knn"]},
    "analysis": {"outcome": "knn_top1"},
    "pack": {"size": 2},
    "seeds": 3,
}
"""Changes that make `TINY` a study of several packs."""


def changed(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The same plain study with values at dotted places replaced, or removed where the value is None."""
    result = copy.deepcopy(raw)
    for place, value in changes.items():
        *parents, key = place.split(".")
        node = result
        for parent in parents:
            node = node.setdefault(parent, {})
        if value is None:
            node.pop(key, None)
        else:
            node[key] = value
    return result


def tiny(**changes: Any) -> Study:
    return parse_study(
        changed(TINY, {place.replace("__", "."): value for place, value in changes.items()}), "tiny.yaml"
    )


def quickstart(**changes: Any) -> Study:
    written = load_study("quickstart").written()
    return parse_study(changed(written, {k.replace("__", "."): v for k, v in changes.items()}), "my.yaml")
