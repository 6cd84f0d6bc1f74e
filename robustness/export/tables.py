"""Trials as a table in one file."""

from pathlib import Path

import pyarrow as pa

from robustness.store import TRIALS_SCHEMA, Folder, StoreError, read, read_plan, write_bytes


def to_csv(folder: Folder, file: Path) -> int:
    """Write every stored trial as a row of comma-separated values; lists, such as spectra, are left out.

    Args:
        folder: what a sweep left behind.
        file: where to write; an older file is replaced.

    Returns:
        The number of rows.

    Raises:
        StoreError: there is no study in the folder, it is damaged, or the file can't be written.
    """
    if not file.parent.is_dir():
        raise StoreError(f"--csv: {file.parent}: no such folder")
    if file.is_dir():
        raise StoreError(f"--csv: {file}: expected a file, got a folder")
    read_plan(folder)
    rows = read(folder, [field.name for field in TRIALS_SCHEMA if not pa.types.is_list(field.type)])
    try:
        write_bytes(file, rows.to_csv(index=False, lineterminator="\n").encode(), replace=True)
    except OSError as error:
        raise StoreError(f"--csv: {file}: can't write this file: {error.strerror}") from None
    return len(rows)
