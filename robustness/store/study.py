"""The study as it ran and its frozen plan."""

from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import yaml

from robustness.store.files import (
    Folder,
    StoreError,
    file_version,
    make_folder,
    read_bytes,
    remove,
    replace_bytes,
    write_bytes,
)
from robustness.store.schema import PLAN_SCHEMA
from robustness.store.tables import Footer, decode, encode

_ATTEMPTS = 50


def plan_path(folder: Folder) -> Folder:
    """Where the frozen plan of a study lies."""
    return folder / "plan.parquet"


def prepare(folder: Folder) -> None:
    """Make the folder and show that it can be written, and that of two writers of a file the second is refused.

    Raises:
        StoreError: it can't, or both are let through.
    """
    try:
        for name in ("trials", "history"):
            make_folder(folder / name)
            _probe(folder, folder / name / f".writable-{uuid4().hex}")
    except OSError as error:
        raise StoreError(f"{folder}: can't write results here: {error.strerror}") from None


def _probe(folder: Folder, path: Folder) -> None:
    try:
        first, second = (write_bytes(path, content, replace=False) for content in (b"first", b"second"))
        if (first, second) != (True, False) or read_bytes(path) != b"first":
            rule = "it lets a second writer replace a file that is there, so results could be lost"
            raise StoreError(f"{folder}: this storage can't hold results: {rule}")
    finally:
        remove(path)


def write_plan(folder: Folder, rows: pd.DataFrame, study: dict[str, Any]) -> None:
    """Freeze the plan and the study as it runs; replaces an older, smaller plan atomically."""
    text = yaml.safe_dump(study, sort_keys=False, allow_unicode=True)
    write_bytes(folder / "study.yaml", text.encode(), replace=True)
    write_bytes(plan_path(folder), _encoded(rows), replace=True)


def add_to_plan(folder: Folder, rows: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Add those trials to the plan that it does not hold, while others may do the same.

    Args:
        rows: planned trials, columns of `PLAN_SCHEMA`.

    Returns:
        The plan as it is now, and whether any of them was added.

    Raises:
        StoreError: there is no study in this folder, or others replace its plan without end.
        OSError: the disk is full or gone; the old plan stays.
    """
    path = plan_path(folder)
    for _ in range(_ATTEMPTS):
        version = file_version(path)
        planned = read_plan(folder)
        new = rows[~rows["trial_id"].isin(planned["trial_id"])]
        if new.empty:
            return planned, False
        planned = pd.concat([planned, new], ignore_index=True) if len(planned) else new.reset_index(drop=True)
        if replace_bytes(path, _encoded(planned), version=version or ""):
            return planned, True
    raise StoreError(f"{path}: others extend this plan, again and again")


def _encoded(rows: pd.DataFrame) -> bytes:
    return encode(pa.Table.from_pandas(rows, schema=PLAN_SCHEMA, preserve_index=False), Footer())


def read_plan(folder: Folder) -> pd.DataFrame:
    """Every planned trial.

    Raises:
        StoreError: there is no study in this folder, or its plan is damaged.
    """
    path = plan_path(folder)
    plan: pd.DataFrame = decode(_content(folder, path), path, PLAN_SCHEMA).to_pandas()
    return plan


def read_study(folder: Folder) -> dict[str, Any]:
    """The study as it ran, as plain data.

    Raises:
        StoreError: there is no study in this folder, or it is damaged.
    """
    path = folder / "study.yaml"
    try:
        raw = yaml.safe_load(_content(folder, path).decode())
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise StoreError(f"{path}: can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise StoreError(f"{path}: expected a study, got {raw!r}"[:300])
    return raw


def _content(folder: Folder, path: Folder) -> bytes:
    try:
        return read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{folder}: no study here: {path.name} is missing") from None
    except OSError as error:
        raise StoreError(f"{path}: can't be read: {error.strerror}") from None
