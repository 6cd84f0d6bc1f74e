"""Reading YAML the way a scientist writes it: 1e-3 is a number, a key given twice is an error."""

import re
from typing import Any

import yaml

from search_spaces.axes import StudyError


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without YAML 1.1's surprises about floats and repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                _fail(key_node.start_mark, f"expected a name as key, got {key!r}")
            if key in seen:
                _fail(key_node.start_mark, f"the key {key!r} is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _fail(mark: yaml.Mark, rule: str) -> None:
    raise yaml.constructor.ConstructorError(None, None, rule, mark)


def read_document(source: str, text: str) -> Any:
    """Parse one YAML document.

    Raises:
        StudyError: `source: line 3: what is wrong`.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise StudyError(f"{source}: {line}not valid YAML: {error.problem}") from None
    except RecursionError:
        raise StudyError(f"{source}: not a study: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise StudyError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
