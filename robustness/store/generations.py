"""Files that hold many packs: published under a name of their content, above all generations whose rows they took.

Nothing here is locked or claimed. A file of a generation never changes, and it is deleted only once its rows are in
one of a higher generation; so every row is in some file at any moment. Whoever reads takes each trial once, from the
highest generation that has it, and an ok row before a failed one. Two compactions at once leave rows twice, which
readers do not see, and the later of the two, or the next, makes one of them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from robustness.store.files import Folder, file_version, remove, write_bytes
from robustness.store.listing import StoredFile, each
from robustness.store.tables import Footer, encode

MAX_ROWS = 100_000
"""Rows of a file, unless one pack alone has more."""

Stamps = Mapping[str, datetime]
"""When each trial that is ok finished; no later run takes its place, so its run is known by that."""


def publish(folder: Folder, table: pa.Table, packs: Collection[str], replaced: Sequence[StoredFile]) -> None:
    """Write rows as files of the generation above those of `replaced`; nothing is deleted.

    Args:
        folder: trials/ or history/.
        packs: that the files hold, with those that have no rows.
        replaced: the files whose rows these are.
    """
    generation = 1 + max(file.generation for file in replaced)
    without_rows = {*packs} - {*table["pack_id"].to_pylist()}
    names = tuple(sorted(file.path.name for file in replaced))
    for part in _parts(table):
        held = sorted({*part["pack_id"].to_pylist()} | without_rows)
        without_rows = set()
        content = encode(part, Footer(packs=tuple(held), replaces=names))
        # The same rows have the same name: of two compactions at once, the second finds the first's file.
        write_bytes(folder / f"g{generation}-{content_digest(content)}.parquet", content, replace=False)


def content_digest(content: bytes) -> str:
    """What a generation's file is named by."""
    return blake2b(content, digest_size=16).hexdigest()


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    """The rows in an order of their own, cut between packs."""
    keys = [name for name in ("pack_id", "trial_id", "epoch", "finished_at") if name in table.column_names]
    table = table.sort_by([(key, "ascending") for key in keys])
    begin = end = 0
    for size in pd.Series(table["pack_id"].to_pylist(), dtype=object).value_counts().sort_index():
        if end > begin and end + size - begin > MAX_ROWS:
            yield table.slice(begin, end - begin)
            begin = end
        end += size
    yield table.slice(begin)


@dataclass(frozen=True)
class Replaced:
    """Files as they were before their rows were read, to be deleted once these are elsewhere."""

    files: Sequence[StoredFile]
    versions: Sequence[str | None]

    @classmethod
    def of(cls, files: Sequence[StoredFile]) -> "Replaced":
        """Files as they are now."""
        return cls(files, each(files, lambda file: file_version(file.path)))

    def remove(self) -> None:
        """Delete them; a pack's own file only if nobody wrote it since."""
        versions = dict(zip(self.files, self.versions, strict=True))

        def delete(file: StoredFile) -> None:
            if file.generation or file_version(file.path) == versions[file]:
                remove(file.path)

        each(self.files, delete)


def current(table: pa.Table, stamps: Stamps) -> pa.Table:
    """Epochs without copies, and of a trial that is ok only those of the run whose outcomes are stored."""
    keys = ["trial_id", "epoch", "finished_at"]
    rows = pd.DataFrame({key: table[key].to_pylist() for key in keys}, dtype=object)
    kept = [
        stamp is None or stamps.get(trial, stamp) == stamp
        for trial, stamp in zip(rows["trial_id"], rows["finished_at"], strict=True)
    ]
    return table.filter(pa.array(np.array(kept, bool) & ~rows.duplicated(), pa.bool_()))


def without_pack(table: pa.Table, pack_id: str) -> pa.Table:
    """The rows of the other packs."""
    return table.filter(pc.not_equal(table["pack_id"], pack_id))


def overlapping(files: Iterable[StoredFile]) -> list[StoredFile]:
    """Files that share a pack with another one."""
    holders: dict[str, list[StoredFile]] = {}
    for file in files:
        for pack in file.packs:
            holders.setdefault(pack, []).append(file)
    found = {file for sharing in holders.values() if len(sharing) > 1 for file in sharing}
    return sorted(found, key=lambda file: (-file.generation, file.path.name))
