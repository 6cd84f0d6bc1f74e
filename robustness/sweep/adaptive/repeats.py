"""How often a known configuration was suggested again: the plan has each once, and all count."""

import json
from collections.abc import Mapping

from robustness.store import Folder, write_bytes


def read_repeats(folder: Folder) -> dict[str, int]:
    """The number of repeated suggestions of each family; none where nothing was written or it can't be read."""
    try:
        found = json.loads((folder / "repeats.json").read_bytes())
    except (FileNotFoundError, ValueError):
        # Lost, it costs a few suggestions more.
        return {}
    return {str(family): int(count) for family, count in found.items()}


def write_repeats(folder: Folder, repeats: Mapping[str, int]) -> None:
    """Replace the numbers atomically."""
    write_bytes(folder / "repeats.json", json.dumps(dict(repeats)).encode(), replace=True)
