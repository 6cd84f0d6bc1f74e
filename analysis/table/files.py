"""Tables of trials in files: Parquet or comma-separated values."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow as pa

from analysis.table import TableError

PARQUET, CSV = (".parquet", ".pq"), (".csv", ".csv.gz", ".csv.zst", ".tsv", ".txt")

_NO_TEXT = ["", "nan", "NaN"]
"""What stands for no value where words are expected: None and NA may be names there."""

_NO_NUMBER = [*_NO_TEXT, "NA", "N/A", "n/a", "#N/A", "<NA>", "-nan", "-NaN", "null", "NULL", "None"]


def read_table(path: str | Path, *, words: Collection[str]) -> pd.DataFrame:
    """Read a table whatever is in it; what its columns must hold is not checked here.

    Args:
        path: a file or a URI; what it is is told by the end of its name.
        words: columns that may hold words, so that None and NA stay names.

    Raises:
        TableError: there is no such file, it is empty or damaged, or of another kind.
    """
    name = str(path)
    local = Path(name)
    if "://" not in name:
        if not local.is_file():
            raise TableError(f"{name}: no such file")
        if not local.stat().st_size:
            raise TableError(f"{name}: the file is empty")
    try:
        if name.endswith(PARQUET):
            return pd.read_parquet(name)
        if name.endswith(CSV):
            return _read_csv(name, words)
    except pd.errors.EmptyDataError:
        raise TableError(f"{name}: the file is empty") from None
    except FileNotFoundError:
        raise TableError(f"{name}: no such file") from None
    except (pa.ArrowException, pd.errors.ParserError, UnicodeError, EOFError) as error:
        raise TableError(f"{name}: the file is damaged: {_one_line(error)}") from None
    except OSError as error:
        raise TableError(f"{name}: can't be read: {_one_line(error)}") from None
    raise TableError(f"{name}: expected a file that ends in {', '.join((*PARQUET, *CSV))}")


def _read_csv(name: str, words: Collection[str]) -> pd.DataFrame:
    separator = "\t" if name.endswith(".tsv") else ","
    columns = pd.read_csv(name, sep=separator, nrows=0).columns
    absent = {column: _NO_TEXT if column in words else _NO_NUMBER for column in columns}
    return pd.read_csv(name, sep=separator, keep_default_na=False, na_values=absent, low_memory=False)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
