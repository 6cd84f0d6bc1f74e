"""Files of an older schema version, rewritten in this one."""

from functools import partial

import pyarrow as pa

from robustness.store.files import Folder, StoreError, file_version, read_bytes, replace_bytes
from robustness.store.generations import Replaced, publish
from robustness.store.listing import StoredFile, each, with_files
from robustness.store.schema import PLAN_SCHEMA, SCHEMA_VERSION
from robustness.store.study import plan_path
from robustness.store.tables import Footer, decode, encode, read_footer
from robustness.store.verification import SCHEMAS

_ATTEMPTS = 20


def migrate(folder: Folder) -> str | None:
    """Rewrite what an earlier version wrote, so that every file has the same columns; rows stay as they are.

    Returns:
        One line that says what was done; None where nothing was.

    Raises:
        StoreError: a file is of a newer version, or damaged.
    """
    count = _migrate_plan(folder)
    for name, schema in SCHEMAS.items():
        count += _migrate_folder(folder / name, schema)
    if count == 0:
        return None
    return f"{folder}: {count} files of an older version were rewritten with the columns of schema {SCHEMA_VERSION}"


def _migrate_plan(folder: Folder) -> int:
    path = plan_path(folder)
    version = file_version(path)
    if version is None or read_footer(path).schema_version == SCHEMA_VERSION:
        return 0
    table = decode(read_bytes(path), path, PLAN_SCHEMA)
    return int(replace_bytes(path, encode(table, Footer()), version=version))


def _migrate_folder(folder: Folder, schema: pa.Schema) -> int:
    count = 0
    for _ in range(_ATTEMPTS):
        rewritten = with_files(folder, partial(_rewrite, folder, schema))
        if not rewritten:
            return count
        count += rewritten
    raise StoreError(f"{folder}: an older version of robustness is writing here; end its sweep first")


def _rewrite(folder: Folder, schema: pa.Schema, files: list[StoredFile]) -> int:
    versions = each(files, lambda file: read_footer(file.path).schema_version)
    older = [file for file, version in zip(files, versions, strict=True) if version != SCHEMA_VERSION]
    each(older, partial(_rewrite_file, folder, schema))
    return len(older)


def _rewrite_file(folder: Folder, schema: pa.Schema, file: StoredFile) -> None:
    replaced = Replaced.of([file])
    table = decode(read_bytes(file.path), file.path, schema)
    if file.generation:
        publish(folder, table, file.packs, [file])
        replaced.remove()
    else:
        replace_bytes(file.path, encode(table, Footer(packs=file.packs)), version=replaced.versions[0] or "")
