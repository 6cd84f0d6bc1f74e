"""Trials that were run again take the place of their failed rows."""

from collections.abc import Callable, Sequence
from functools import partial

import pyarrow as pa

from robustness.store.files import Folder, StoreError, file_version, replace_bytes, write_bytes
from robustness.store.generations import Replaced, Stamps, current, publish, without_pack
from robustness.store.listing import StoredFile, packs_of, read_tables, with_files
from robustness.store.schema import HISTORY_SCHEMA, TRIALS_SCHEMA
from robustness.store.tables import Footer, encode
from robustness.store.trials import Row, once_each, rows_of_pack, stamped, stored_packs

Change = Callable[[Sequence[pa.Table]], pa.Table]

_ATTEMPTS = 50
_IDENTITY = {"trials": ["trial_id", "status", "finished_at"], "history": ["trial_id", "epoch", "finished_at"]}


def replace_in_pack(folder: Folder, pack_id: str, rows: list[Row], history: list[Row]) -> None:
    """Store trials of a pack that were run again: they take the place of failed rows, the others stay bit by bit.

    A stored row that is ok stays, whoever stored it. Replaced at once, in the pack's own file or, after a
    compaction, by a file of the next generation.

    Args:
        rows: one per trial that was run again, keys of `TRIALS_SCHEMA`.
        history: their evaluated epochs, keys of `HISTORY_SCHEMA`.

    Raises:
        StoreError: no such pack is stored, or others replace it without end.
        OSError: the disk is full or gone; the old rows stay.
    """
    if pack_id not in stored_packs(folder):
        raise StoreError(f"{folder}: pack {pack_id[:8]} is not stored, so none of its trials can be replaced")
    table = pa.Table.from_pylist(rows, schema=TRIALS_SCHEMA)
    _change(folder / "history", pack_id, HISTORY_SCHEMA, partial(_with_epochs, new=stamped(history, rows), rows=rows))
    _change(folder / "trials", pack_id, TRIALS_SCHEMA, partial(_with_trials, new=table))
    held = once_each(with_files(folder / "trials", lambda files: rows_of_pack(files, pack_id, TRIALS_SCHEMA)))
    final = [row for row in held.select(_IDENTITY["trials"]).to_pylist() if row["status"] == "ok"]
    stamps = {row["trial_id"]: row["finished_at"] for row in final if row["finished_at"] is not None}
    _change(folder / "history", pack_id, HISTORY_SCHEMA, partial(_of_stored_runs, stamps=stamps))


def _with_trials(stored: Sequence[pa.Table], *, new: pa.Table) -> pa.Table:
    """One row a trial: the new one where the stored one failed, unless it failed too, and earlier."""
    old = once_each(stored)
    rows = new.select(_IDENTITY["trials"]).to_pylist()
    places = {row["trial_id"]: (len(old) + index, row) for index, row in enumerate(rows)}
    chosen = []
    for index, row in enumerate(old.select(_IDENTITY["trials"]).to_pylist()):
        place, other = places.pop(row["trial_id"], (index, row))
        chosen.append(place if row["status"] != "ok" and (other["status"] == "ok" or not _later(row, other)) else index)
    return pa.concat_tables([old, new]).take([*chosen, *(place for place, _ in places.values())])


def _later(row: Row, other: Row) -> bool:
    stamps = (row["finished_at"], other["finished_at"])
    return None not in stamps and stamps[0] > stamps[1]


def _with_epochs(stored: Sequence[pa.Table], *, new: pa.Table, rows: list[Row]) -> pa.Table:
    """The stored epochs and the new ones; which of them count shows once the trials are stored."""
    again = {row["trial_id"] for row in rows}
    old = pa.concat_tables([HISTORY_SCHEMA.empty_table(), *stored])
    keys = zip(old["trial_id"].to_pylist(), old["finished_at"].to_pylist(), strict=True)
    # Rows that don't tell their run would pass for those of the new one.
    old = old.filter(pa.array([stamp is not None or trial not in again for trial, stamp in keys], pa.bool_()))
    return current(pa.concat_tables([old, new]), {})


def _of_stored_runs(stored: Sequence[pa.Table], *, stamps: Stamps) -> pa.Table:
    return current(pa.concat_tables([HISTORY_SCHEMA.empty_table(), *stored]), stamps)


def _change(folder: Folder, pack_id: str, schema: pa.Schema, change: Change) -> None:
    """Change a pack's rows where they lie, until what lies there is what the change makes of it."""
    for _ in range(_ATTEMPTS):
        if with_files(folder, partial(_is_changed, folder, pack_id=pack_id, schema=schema, change=change)):
            return
    raise StoreError(f"{folder}: pack {pack_id[:8]} is being replaced by others, again and again")


def _is_changed(folder: Folder, files: list[StoredFile], *, pack_id: str, schema: pa.Schema, change: Change) -> bool:
    holders = [file for file in files if pack_id in file.packs]
    if not holders:
        path = folder / f"{pack_id}.parquet"
        return write_bytes(path, encode(change([schema.empty_table()]), Footer(packs=(pack_id,))), replace=False)
    home, *_ = holders
    version = file_version(home.path)
    if version is None:
        raise FileNotFoundError(home.path)
    stored = rows_of_pack(holders, pack_id, schema)
    changed = change(stored)
    identity = _IDENTITY[folder.name]
    if changed.select(identity).equals(stored[0].select(identity)):
        return True
    if home.generation == 0:
        replace_bytes(home.path, encode(changed, Footer(packs=(pack_id,))), version=version)
        return False
    replaced = Replaced.of([home])
    others = without_pack(read_tables([home], schema)[0], pack_id)
    publish(folder, pa.concat_tables([others, changed]), packs_of([home]), [home])
    replaced.remove()
    return False
