"""Reading and writing a study's folder, so that a pack is there whole or not at all."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from robustness.store.schema import HISTORY_SCHEMA, OUTCOMES, PLAN_SCHEMA, TRIALS_SCHEMA

Row = dict[str, Any]

_SAME_MACHINE = ("device", "threads", "torch_version", "slice_size", "fused")


class StoreError(ValueError):
    """What is wrong with a results folder, in one line."""


def plan_path(folder: Path) -> Path:
    """Where the frozen plan of a study lies."""
    return folder / "plan.parquet"


def prepare(folder: Path) -> None:
    """Make the folder and show that it can be written.

    Raises:
        StoreError: it can't.
    """
    try:
        for name in ("trials", "history"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            probe = folder / name / f".writable-{uuid4().hex}"
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise StoreError(f"{folder}: can't write results here: {error.strerror}") from None


def write_plan(folder: Path, rows: pd.DataFrame, study: dict[str, Any]) -> None:
    """Freeze the plan and the study as it runs; replaces an older, smaller plan atomically."""
    text = yaml.safe_dump(study, sort_keys=False, allow_unicode=True)
    write_bytes(folder / "study.yaml", text.encode(), replace=True)
    table = pa.Table.from_pandas(rows, schema=PLAN_SCHEMA, preserve_index=False)
    _write_table(plan_path(folder), table, replace=True)


def read_plan(folder: Path) -> pd.DataFrame:
    """Every planned trial.

    Raises:
        StoreError: there is no study in this folder, or its plan is damaged.
    """
    if not plan_path(folder).is_file():
        raise StoreError(f"{folder}: no study here: plan.parquet is missing")
    plan: pd.DataFrame = _read_file(plan_path(folder), PLAN_SCHEMA).to_pandas()
    return plan


def read_study(folder: Path) -> dict[str, Any]:
    """The study as it ran, as plain data.

    Raises:
        StoreError: there is no study in this folder, or it is damaged.
    """
    path = folder / "study.yaml"
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{folder}: no study here: study.yaml is missing") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StoreError(f"{path}: can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise StoreError(f"{path}: expected a study, got {raw!r}"[:300])
    return raw


def write_pack(folder: Path, pack_id: str, rows: list[Row], history: list[Row]) -> str | None:
    """Store one pack: its history first, then its trials; the first writer wins.

    Args:
        rows: one per member, keys of `TRIALS_SCHEMA`; a key left out is null.
        history: one per member and evaluated epoch, keys of `HISTORY_SCHEMA`.

    Returns:
        None when stored; one line to print when the pack was stored before and this result was dropped.

    Raises:
        StoreError: the stored result came from an equal machine and differs.
        OSError: the disk is full or gone; nothing was stored.
    """
    table = pa.Table.from_pylist(rows, schema=TRIALS_SCHEMA)
    history_table = pa.Table.from_pylist(history, schema=HISTORY_SCHEMA)
    path = folder / "trials" / f"{pack_id}.parquet"
    # A history without its trials is from a run that was killed in between: this one's goes with these trials.
    _write_table(folder / "history" / f"{pack_id}.parquet", history_table, replace=not path.exists())
    if _write_table(path, table, replace=False):
        return None
    return _compare(path, _read_file(path, TRIALS_SCHEMA), table)


def stored_packs(folder: Path) -> set[str]:
    """The ids of the packs that are done."""
    return {path.stem for path in _parquet_files(folder / "trials")}


def read(folder: Path) -> pd.DataFrame:
    """Every finished trial, a row each, in the order of family, axes and seed."""
    return _read_folder(folder / "trials", TRIALS_SCHEMA, ["dataset", "family", "batch_size", "seed", "trial_id"])


def read_history(folder: Path) -> pd.DataFrame:
    """Every evaluated epoch of the finished packs, a row each."""
    history = _read_folder(folder / "history", HISTORY_SCHEMA, ["dataset", "family", "trial_id", "epoch"])
    return history[history["pack_id"].isin(stored_packs(folder))].reset_index(drop=True)


def _read_folder(folder: Path, schema: pa.Schema, order: list[str]) -> pd.DataFrame:
    tables = [_read_file(path, schema) for path in _parquet_files(folder)]
    table = pa.concat_tables(tables) if tables else schema.empty_table()
    frame: pd.DataFrame = table.to_pandas()
    return frame.sort_values(order, kind="stable", ignore_index=True)


def _read_file(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"{path}: damaged or not Parquet: {' '.join(str(error).split())[:200]}") from None
    if table.schema.names != schema.names:
        differing = sorted(set(table.schema.names) ^ set(schema.names))
        raise StoreError(f"{path}: its columns are not those of this version: {', '.join(differing)[:200]}")
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise StoreError(f"{path}: its columns have other types: {' '.join(str(error).split())[:200]}") from None


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def _write_table(path: Path, table: pa.Table, *, replace: bool) -> bool:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return write_bytes(path, sink.getvalue().to_pybytes(), replace=replace)


def write_bytes(path: Path, content: bytes, *, replace: bool) -> bool:
    """Write under a hidden name, sync, then publish at once; False where the file was there first."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return _publish(temporary, path, replace=replace)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _publish(temporary: Path, path: Path, *, replace: bool) -> bool:
    if replace:
        temporary.replace(path)
    else:
        # A hard link fails where the name exists, which a rename does not: the first writer wins.
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS) or path.exists():
                raise
            temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True


def _compare(path: Path, stored: pa.Table, other: pa.Table) -> str:
    name = path.stem[:8]
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
