"""What options hold, checked before any work."""

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from robustness.store import Folder


def finite_numbers(option: str, texts: Sequence[str], *, rule: str, above: float = -math.inf) -> list[float]:
    """The numbers that texts say.

    Raises:
        BadParameter: one says none, or an infinite one, or one that is not above the bound.
    """
    try:
        values = [float(text) for text in texts]
    except ValueError:
        values = [math.nan]
    if not all(above < value < math.inf for value in values):
        raise typer.BadParameter(f"{option}: expected {rule}, got {','.join(texts)!r}")
    return values


def writable_folder(out: str) -> "Folder":
    """The folder of that name; a local one is tried, and nothing is left there.

    Raises:
        StoreError: it can't be a folder, or can't be written.
    """
    from robustness.store import StoreError, open_folder

    if not out:
        raise StoreError("--out: expected a folder, got ''")
    folder = open_folder(out)
    if not isinstance(folder, Path):
        return folder
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise StoreError(f"--out: '{there}' is a file; expected a folder")
    try:
        with TemporaryDirectory(dir=there):
            return folder
    except OSError as error:
        raise StoreError(f"--out: can't write in '{there}': {error.strerror}") from None
