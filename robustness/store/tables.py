"""Tables <-> bytes of Parquet: checked pages, one schema, and a footer that tells whose rows these are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import pyarrow as pa
import pyarrow.parquet as pq

from robustness.store.files import Folder, StoreError, open_bytes
from robustness.store.schema import SCHEMA_VERSION
from robustness.trial import PROTOCOL_VERSION

_PREFIX = "robustness."


class DamagedError(StoreError):
    """A file that no version of this code wrote like this: truncated, empty, or with other bits."""


@dataclass(frozen=True)
class Footer:
    """What a file tells of itself.

    Args:
        packs: whose rows it holds; none in a plan.
        replaces: names of the files whose place it takes.
        schema_version: of its columns.
        num_rows: that it holds; counted by the file itself.
    """

    packs: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION
    num_rows: int = 0


def encode(table: pa.Table, footer: Footer) -> bytes:
    """The bytes of a file with these rows, in the columns and the order of the table."""
    told = {
        "schema_version": str(footer.schema_version),
        "packs": json.dumps(footer.packs),
        "replaces": json.dumps(footer.replaces),
        "code_version": version("robustness"),
        "protocol_version": str(PROTOCOL_VERSION),
    }
    sink = pa.BufferOutputStream()
    metadata = {_PREFIX + key: value for key, value in told.items()}
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def decode(content: bytes, path: Folder, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a file; columns that an older version did not know are null.

    Args:
        path: named in messages.
        schema: that the rows get.
        columns: which of them; all unless given.

    Raises:
        DamagedError: not whole.
        StoreError: of a newer version, or of other columns.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        found = _footer(file.metadata)
        stored = {*file.schema_arrow.names}
        _check_columns(path, stored, found, schema)
        wanted = schema.names if columns is None else list(columns)
        # Several files are read at once: threads within each would only wait for one another.
        table = file.read([name for name in wanted if name in stored], use_threads=False)
        # Text that is not UTF-8 shows only here.
        table.validate(full=True)
    except StoreError:
        raise
    except Exception as error:
        raise DamagedError(f"{path}: damaged or not Parquet: {_line(error)}") from None
    return _cast(path, table, pa.schema([schema.field(name) for name in wanted]))


def read_footer(path: Folder) -> Footer:
    """What a file tells of itself, without its rows.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: its end can't be read.
    """
    with open_bytes(path) as file:
        try:
            return _footer(pq.read_metadata(file))
        except (pa.ArrowException, ValueError) as error:
            raise DamagedError(f"{path}: damaged or not Parquet: {_line(error)}") from None


def _footer(metadata: pq.FileMetaData) -> Footer:
    told = {key.decode(): value.decode() for key, value in (metadata.metadata or {}).items()}
    return Footer(
        packs=tuple(json.loads(told.get(_PREFIX + "packs", "[]"))),
        replaces=tuple(json.loads(told.get(_PREFIX + "replaces", "[]"))),
        schema_version=int(told.get(_PREFIX + "schema_version", SCHEMA_VERSION)),
        num_rows=metadata.num_rows,
    )


def _check_columns(path: Folder, columns: set[str], footer: Footer, schema: pa.Schema) -> None:
    if footer.schema_version > SCHEMA_VERSION:
        rule = f"this one reads up to schema {SCHEMA_VERSION}; install the newer one"
        raise StoreError(f"{path}: written by a newer version of robustness, schema {footer.schema_version}: {rule}")
    added, missing = columns - {*schema.names}, {*schema.names} - columns
    if added or (missing and footer.schema_version == SCHEMA_VERSION):
        differing = ", ".join(sorted(added | missing))[:200]
        raise StoreError(f"{path}: its columns are not those of this version: {differing}")


def _cast(path: Folder, table: pa.Table, schema: pa.Schema) -> pa.Table:
    stored = {*table.column_names}
    for field in schema:
        if field.name not in stored:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    table = table.select(schema.names).replace_schema_metadata()
    try:
        return table if table.schema.equals(schema) else table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise StoreError(f"{path}: its columns have other types: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
