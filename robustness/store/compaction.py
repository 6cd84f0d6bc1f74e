"""Many small files -> few large ones, while others read and write."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pyarrow as pa

from robustness.store.files import Folder, StoreError
from robustness.store.generations import MAX_ROWS, Replaced, Stamps, current, overlapping, publish
from robustness.store.listing import StoredFile, each, packs_of, read_tables, with_files
from robustness.store.schema import HISTORY_SCHEMA, TRIALS_SCHEMA
from robustness.store.tables import read_footer
from robustness.store.trials import once_each, read, stored_packs

Merge = Callable[[Sequence[pa.Table]], pa.Table]

_ROUNDS = 20


def compact(folder: Folder) -> str:
    """Put the packs' own files together into files of up to 100,000 rows, of trials and of history.

    It may be killed at any moment, and run beside sweeps, readers and other compactions: each trial is read once.

    Returns:
        One line that says what was done.

    Raises:
        StoreError: a file is damaged, or holds rows of another pack; nothing of it was touched.
    """
    names = ("trials", "history")
    before = [with_files(folder / name, len) for name in names]
    _compact(folder / "trials", TRIALS_SCHEMA, once_each, stored=lambda: stored_packs(folder))
    merge = partial(_merge_history, stamps=_stamps(folder))
    _compact(folder / "history", HISTORY_SCHEMA, merge, stored=lambda: stored_packs(folder))
    after = [with_files(folder / name, len) for name in names]
    changes = zip(names, before, after, strict=True)
    return f"{folder}: " + ", ".join(f"{name}: {old} -> {new} files" for name, old, new in changes)


def _stamps(folder: Folder) -> Stamps:
    stored = read(folder, ["trial_id", "status", "finished_at"])
    final = stored[(stored["status"] == "ok") & stored["finished_at"].notna()]
    return dict(zip(final["trial_id"], final["finished_at"], strict=True))


def _merge_history(tables: Sequence[pa.Table], *, stamps: Stamps) -> pa.Table:
    return current(pa.concat_tables(tables), stamps)


def _compact(folder: Folder, schema: pa.Schema, merge: Merge, *, stored: Callable[[], set[str]]) -> None:
    def once(files: list[StoredFile], *, everything: bool) -> bool:
        # A history whose trials are not stored belongs to a pack that may still be written.
        mine = [file for file in files if done.issuperset(file.packs)]
        batches = list(_batches(mine, everything=everything))
        for batch in batches:
            _put_together(folder, batch, schema, merge)
        return bool(batches)

    done = stored()
    with_files(folder, partial(once, everything=True))
    for _ in range(_ROUNDS):
        # What another compaction published meanwhile holds the same packs; new packs are left to the next one.
        if not with_files(folder, partial(once, everything=False)):
            return
    raise StoreError(f"{folder}: other compactions are running; let them finish")


def _batches(files: list[StoredFile], *, everything: bool) -> Iterator[list[StoredFile]]:
    """What is put together: files that share packs at once, and of the others as many as make a file of full size."""
    doubtful = overlapping(files)
    if doubtful:
        yield doubtful
    if not everything:
        return
    shared = {*doubtful}
    clean = [file for file in files if file not in shared]
    sizes = each(clean, lambda file: read_footer(file.path).num_rows)
    batch: list[StoredFile] = []
    rows = 0
    for file, size in sorted(zip(clean, sizes, strict=True), key=lambda pair: pair[0].path.name):
        if file.generation and size > MAX_ROWS // 2:
            continue
        if rows + size > MAX_ROWS:
            yield from [batch] if len(batch) > 1 else []
            batch, rows = [], 0
        batch, rows = [*batch, file], rows + size
    yield from [batch] if len(batch) > 1 else []


def _put_together(folder: Folder, files: list[StoredFile], schema: pa.Schema, merge: Merge) -> None:
    replaced = Replaced.of(files)
    tables = read_tables(files, schema)
    for file, table in zip(files, tables, strict=True):
        foreign = {*table["pack_id"].to_pylist()}.difference(file.packs)
        if foreign:
            raise StoreError(f"{file.path}: holds rows of another pack, {min(foreign)}; see what verify says")
    publish(folder, merge(tables), packs_of(files), files)
    replaced.remove()
