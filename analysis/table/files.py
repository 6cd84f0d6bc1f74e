"""Tables of trials in files: Parquet or comma-separated values."""

from collections.abc import Collection, Mapping
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.table import TableError
from analysis.table.columns import require_unique

PARQUET, CSV = (".parquet", ".pq"), (".csv", ".csv.gz", ".csv.zst", ".tsv", ".txt")

_NO_TEXT = ["", "nan", "NaN"]
"""What stands for no value where words are expected: None and NA may be names there."""

_NO_NUMBER = [*_NO_TEXT, "NA", "N/A", "n/a", "#N/A", "<NA>", "-nan", "-NaN", "null", "NULL", "None"]

_MAGIC = b"PAR1"
"""With which every Parquet file starts and ends."""

_SEPARATORS = (";", "\t", "|", ",")


def read_table(
    path: str | Path, *, words: Collection[str | None], verbatim: Collection[str | None] = ()
) -> pd.DataFrame:
    """Read a table whatever is in it; what its columns must hold is not checked here.

    Args:
        path: a file or a URI; what it is is told by the end of its name.
        words: columns that may hold words, so that None and NA stay names.
        verbatim: columns in which nan is a word too.

    Raises:
        TableError: there is no such file, it is empty or damaged, or of another kind.
    """
    name = str(path)
    try:
        return _read(name, {**dict.fromkeys(words, _NO_TEXT), **{column: [""] for column in verbatim}})
    except TableError as error:
        raise TableError(f"{name}: {error}") from None
    except pd.errors.EmptyDataError:
        raise TableError(f"{name}: the file is empty") from None
    except FileNotFoundError:
        raise TableError(f"{name}: no such file") from None
    except UnicodeError:
        raise TableError(f"{name}: expected UTF-8 text") from None
    except (pa.ArrowException, pd.errors.ParserError, EOFError) as error:
        raise TableError(f"{name}: the file is damaged: {_one_line(error)}") from None
    except (OSError, ImportError, ValueError) as error:
        raise TableError(f"{name}: can't be read: {_one_line(error)}") from None


def _read(name: str, absent: Mapping[str | None, list[str]]) -> pd.DataFrame:
    if "://" not in name and Path(name).is_dir():
        raise TableError("is a folder; expected a file")
    is_parquet = name.lower().endswith(PARQUET)
    if not is_parquet and not name.lower().endswith(CSV):
        raise TableError(f"expected a file that ends in {', '.join((*PARQUET, *CSV))}")
    with fsspec.open(name, "rb") as file:
        start = file.read(len(_MAGIC))
        if not start:
            raise TableError("the file is empty")
        if is_parquet and start != _MAGIC:
            raise TableError("expected a Parquet file, which starts with PAR1; text ends in .csv")
        if start == _MAGIC and not is_parquet:
            raise TableError("the file is Parquet; expected a name that ends in .parquet")
        if is_parquet:
            require_unique(pq.read_schema(file).names)
            return pd.read_parquet(name)
    return _read_csv(name, absent)


def _read_csv(name: str, absent: Mapping[str | None, list[str]]) -> pd.DataFrame:
    separator = "\t" if name.lower().endswith(".tsv") else ","
    # Read as a row: of a header pandas renames the second of two equal names.
    header = pd.read_csv(name, sep=separator, header=None, nrows=1, dtype="str", keep_default_na=False)
    columns = header.iloc[0].tolist()
    if len(columns) == 1:
        other = next((mark for mark in _SEPARATORS if mark in columns[0]), None)
        if other is not None:
            raise TableError(f"expected columns separated by {separator!r}; the separator looks like {other!r}")
    require_unique(columns)
    empty = {column: absent.get(column, _NO_NUMBER) for column in columns if column}
    return pd.read_csv(name, sep=separator, keep_default_na=False, na_values=empty, low_memory=False)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
