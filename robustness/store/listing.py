"""Which files of trials/ or history/ count, while others write and compact."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from robustness.store.files import Folder, StoreError, file_names, read_bytes
from robustness.store.tables import Footer, decode, read_footer

T = TypeVar("T")

_GENERATION = re.compile(r"g(\d+)-[0-9a-f]+\.parquet")
_ATTEMPTS = 20
_REMOTE_REQUESTS = 32


@dataclass(frozen=True)
class StoredFile:
    """A file of trials/ or history/.

    Args:
        path: where it lies.
        generation: 0 for a pack's own file; a compaction's are above those whose rows they took.
    """

    path: Folder
    generation: int

    @property
    def footer(self) -> Footer:
        """What a compaction's file tells of itself; such files never change."""
        return _footer_of(self.path)

    @property
    def packs(self) -> tuple[str, ...]:
        """The packs whose rows it holds: a pack's own file tells them by its name."""
        return self.footer.packs if self.generation else (self.path.stem.partition("-")[0],)


@lru_cache(maxsize=10_000)
def _footer_of(path: Folder) -> Footer:
    return read_footer(path)


def list_files(folder: Folder) -> list[StoredFile]:
    """All Parquet files of a folder, the highest generation first.

    A listing is not made at one moment: one that begins before a compaction publishes its file, and ends after the
    files are gone that this one replaces, has neither. So it is made until no more generations appear.
    """
    names = file_names(folder)
    while True:
        again = file_names(folder)
        new = {name for name in again - names if _GENERATION.fullmatch(name)}
        names |= again
        if not new:
            break
    found = [StoredFile(folder / name, _generation(name)) for name in names if name.endswith(".parquet")]
    return sorted(found, key=lambda file: (-file.generation, file.path.name))


def _generation(name: str) -> int:
    match = _GENERATION.fullmatch(name)
    return int(match[1]) if match else 0


def with_files(folder: Folder, read: Callable[[list[StoredFile]], T]) -> T:
    """What `read` makes of the files of a folder; lists them again where one is gone by the time it is read.

    Raises:
        StoreError: files vanish faster than they can be read, or the disk or object store fails.
    """
    for _ in range(_ATTEMPTS):
        try:
            return read(list_files(folder))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{error.filename or folder}: {error.strerror or error}") from error
    raise StoreError(f"{folder}: its files are replaced faster than they can be read; try again later")


def read_tables(files: Sequence[StoredFile], schema: pa.Schema, columns: Sequence[str] | None = None) -> list[pa.Table]:
    """The rows of each file, several files at once.

    Raises:
        FileNotFoundError: one is gone.
        StoreError: one is damaged or of another version.
    """
    return each(files, lambda file: decode(read_bytes(file.path), file.path, schema, columns))


def each(files: Sequence[StoredFile], act: Callable[[StoredFile], T]) -> list[T]:
    """What `act` returns for each file, several at once: an object store takes long to answer, but answers many."""
    local = not files or isinstance(files[0].path, Path)
    with ThreadPoolExecutor((os.cpu_count() or 1) if local else _REMOTE_REQUESTS) as pool:
        return list(pool.map(act, files))


def packs_of(files: Iterable[StoredFile]) -> set[str]:
    """The packs that have rows in these files."""
    return {pack for file in files for pack in file.packs}
