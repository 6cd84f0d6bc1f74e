"""Trials as a table in one file."""

from pathlib import Path

from robustness.store import TRIALS_SCHEMA, Folder, StoreError, read, read_plan, write_bytes


def to_csv(folder: Folder, file: Path) -> int:
    """Write every stored trial as a row of comma-separated values; spectra, which are lists, are left out.

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
    rows = read(folder, [name for name in TRIALS_SCHEMA.names if not name.endswith("spectrum")])
    try:
        write_bytes(file, rows.to_csv(index=False, lineterminator="\n").encode(), replace=True)
    except OSError as error:
        raise StoreError(f"--csv: {file}: can't write this file: {error.strerror}") from None
    return len(rows)
