"""Packs of finished trials: stored whole or not at all, each trial read exactly once."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from robustness.store.files import Folder, StoreError, remove, write_bytes
from robustness.store.listing import StoredFile, list_files, packs_of, read_tables, with_files
from robustness.store.schema import HISTORY_SCHEMA, OUTCOMES, TRIALS_SCHEMA
from robustness.store.tables import Footer, encode

Row = dict[str, Any]

_ORDER = ["dataset", "family", "batch_size", "seed", "trial_id"]
_SAME_MACHINE = ("device", "threads", "torch_version", "slice_size", "fused")


def write_pack(folder: Folder, pack_id: str, rows: list[Row], history: list[Row]) -> str | None:
    """Store one pack: its history first, then its trials; the first writer wins.

    Args:
        rows: one per member, keys of `TRIALS_SCHEMA`; a key left out is null.
        history: one per member and evaluated epoch, keys of `HISTORY_SCHEMA`; gets its trial's `finished_at`.

    Returns:
        None when stored; one line to print when the pack was stored before and this result was dropped.

    Raises:
        StoreError: the stored result came from an equal machine and differs.
        OSError: the disk is full or gone; nothing was stored.
    """
    table = pa.Table.from_pylist(rows, schema=TRIALS_SCHEMA)
    path = folder / "trials" / f"{pack_id}.parquet"
    if pack_id in stored_packs(folder):
        return _compare(path, _stored(folder, pack_id), table)
    footer = Footer(packs=(pack_id,))
    own_history = encode(stamped(history, rows), footer)
    aside = _write_history(folder, pack_id, own_history)
    if not write_bytes(path, encode(table, footer), replace=False):
        if aside is not None:
            remove(aside)
        return _compare(path, _stored(folder, pack_id), table)
    if aside is not None:
        # Only the one writer whose trials were stored comes here: the history of the others gives way to its own.
        write_bytes(folder / "history" / path.name, own_history, replace=True)
        remove(aside)
    if pack_id in packs_of(file for file in list_files(folder / "trials") if file.generation):
        return _give_way(folder, path, table)
    return None


def _give_way(folder: Folder, path: Folder, table: pa.Table) -> str | None:
    """A compaction holds the pack by now: these rows, or those of another writer, stored since this one looked."""
    stored = _stored(folder, path.stem)
    remove(path)
    if stored.select(["trial_id", "finished_at"]).equals(table.sort_by("trial_id").select(["trial_id", "finished_at"])):
        return None
    return _compare(path, stored, table)


def stamped(history: list[Row], rows: list[Row]) -> pa.Table:
    """A history whose rows tell by `finished_at` of which run of their trial they are."""
    finished = {row["trial_id"]: row.get("finished_at") for row in rows}
    stamps = ({**row, "finished_at": finished.get(row["trial_id"])} for row in history)
    return pa.Table.from_pylist(list(stamps), schema=HISTORY_SCHEMA)


def _write_history(folder: Folder, pack_id: str, content: bytes) -> Folder | None:
    """Store a history; beside the file that a killed run, or one that trains the pack too, left: returns where."""
    if write_bytes(folder / "history" / f"{pack_id}.parquet", content, replace=False):
        return None
    aside = folder / "history" / f"{pack_id}-{uuid4().hex[:8]}.parquet"
    write_bytes(aside, content, replace=False)
    return aside


def stored_packs(folder: Folder) -> set[str]:
    """The ids of the packs that are done."""
    return with_files(folder / "trials", packs_of)


def read(folder: Folder, columns: Sequence[str] | None = None, *, packs: Collection[str] | None = None) -> pd.DataFrame:
    """Every finished trial, a row each, in the order of family, axes and seed.

    Args:
        columns: of `TRIALS_SCHEMA`; all unless given.
        packs: only the trials of these, and only their files are read; all unless given.
    """
    wanted = TRIALS_SCHEMA.names if columns is None else list(columns)
    needed = list(dict.fromkeys([*wanted, *_ORDER, "status", "pack_id"]))
    tables = _read_packs(folder / "trials", packs, TRIALS_SCHEMA, needed)
    frame: pd.DataFrame = once_each(tables).to_pandas()
    return frame.sort_values(_ORDER, kind="stable", ignore_index=True)[wanted]


def read_history(folder: Folder, *, packs: Collection[str] | None = None) -> pd.DataFrame:
    """Every evaluated epoch of the finished trials, a row each: of the run whose outcomes were stored.

    Args:
        packs: as of `read`.
    """
    # In this order: a pack's history is written before its trials.
    trials = read(folder, ["trial_id", "finished_at"], packs=packs).rename(columns={"finished_at": "stored_at"})
    tables = _read_packs(folder / "history", packs, HISTORY_SCHEMA)
    history: pd.DataFrame = _together(tables, HISTORY_SCHEMA).to_pandas()
    history = history.merge(trials, on="trial_id")
    history = history[history["finished_at"].isna() | (history["finished_at"] == history["stored_at"])]
    history = history.drop_duplicates(["trial_id", "epoch"])[HISTORY_SCHEMA.names]
    return history.sort_values(["dataset", "family", "trial_id", "epoch"], kind="stable", ignore_index=True)


def _read_packs(
    folder: Folder, packs: Collection[str] | None, schema: pa.Schema, columns: Sequence[str] | None = None
) -> list[pa.Table]:
    """The rows of these packs, of each file that holds any; of all packs where none are named."""
    if packs is None:
        return with_files(folder, lambda files: read_tables(files, schema, columns))
    wanted = frozenset(packs)
    tables = with_files(
        folder, lambda files: read_tables([file for file in files if wanted & {*file.packs}], schema, columns)
    )
    values = pa.array(sorted(wanted), pa.string())
    return [table.filter(pc.is_in(table["pack_id"], values)) for table in tables]


def once_each(tables: Sequence[pa.Table]) -> pa.Table:
    """One row a trial, of tables of which earlier ones count more: an ok one if there is any, else the first."""
    table = _together(tables, TRIALS_SCHEMA)
    if pc.count_distinct(table["trial_id"]).as_py() == len(table):
        return table
    rows = pd.DataFrame({"trial": table["trial_id"].to_pandas(), "failed": table["status"].to_pandas() != "ok"})
    first = rows.sort_values("failed", kind="stable").drop_duplicates("trial").index
    return table.take(sorted(first))


def _together(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables(tables) if tables else schema.empty_table()


def rows_of_pack(files: Sequence[StoredFile], pack_id: str, schema: pa.Schema) -> list[pa.Table]:
    """A pack's rows in each of the files that hold it, in their order."""
    holders = [file for file in files if pack_id in file.packs]
    tables = zip(holders, read_tables(holders, schema), strict=True)
    return [table.filter(pc.equal(table["pack_id"], pack_id)) if file.generation else table for file, table in tables]


def _stored(folder: Folder, pack_id: str) -> pa.Table:
    """A pack's rows, by trial."""
    held = with_files(folder / "trials", lambda files: rows_of_pack(files, pack_id, TRIALS_SCHEMA))
    return once_each(held).sort_by("trial_id")


def _compare(path: Folder, stored: pa.Table, other: pa.Table) -> str:
    name, other = path.stem[:8], other.sort_by("trial_id")
    machines = [table.select(_SAME_MACHINE) for table in (stored, other)]
    if not machines[0].equals(machines[1]):
        return f"pack {name} was stored before, from another kind of machine; this result was dropped"
    for column in ("trial_id", "status", *OUTCOMES):
        if _bits(stored, column) != _bits(other, column):
            raise StoreError(f"{path}: a second run on an equal machine differs in '{column}'; kept the first")
    return f"pack {name} was stored before with equal results; this copy was dropped"


def _bits(table: pa.Table, column: str) -> str:
    """A column as text in which equal means bit-identical and NaN equals NaN."""
    return repr(table.column(column).to_pylist())
