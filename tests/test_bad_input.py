import numpy as np
import pandas as pd
import pytest
import typer
from simulated import GRID

from analysis.table import TableError
from robustness.cli.results import report


def frame(**changes):
    both = [GRID.assign(seed=seed, method="a", accuracy=0.5 + 0.01 * np.arange(15)) for seed in (0, 1)]
    return pd.concat(both, ignore_index=True).assign(**changes)


def said(tmp_path, rows, **changes):
    """What the command says about a table: one line, for which it ends with exit code 2."""
    path = tmp_path / "runs.parquet"
    rows.to_parquet(path, index=False)
    return ended(tmp_path, path, **changes)


def ended(tmp_path, path, **changes):
    options = {"axes": "batch_size:log2,temperature:log", "outcome": "accuracy", "replicate": "seed", "group": "method"}
    with pytest.raises(TableError) as caught:
        report(table=str(path), out=str(tmp_path / "out"), **{**options, **changes})
    assert not (tmp_path / "out").exists()
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"outcome": "acuracy"}, "outcome: no column 'acuracy'; did you mean 'accuracy'?"),
        ({"group": "methods"}, "group: no column 'methods'; did you mean 'method'?"),
        ({"axes": "temprature:log"}, "axes: no column 'temprature'; did you mean 'temperature'?"),
        ({"replicate": "zzz"},
         "replicate: no column 'zzz'; there are batch_size, temperature, seed, method and accuracy"),
        ({"axes": "temperature:lgo"},
         "axes: temperature: unknown scale 'lgo'; expected linear, log, log2; did you mean 'log'?"),
        ({"axes": "temperature,temperature"}, "axes: 'temperature' is named twice"),
        ({"axes": "temperature,accuracy"}, "axes: 'accuracy' is the outcome already"),
        ({"axes": "method:log", "group": None}, "axes: method: expected numbers in 'method', got 'a' in row 1"),
        ({"outcome": "method", "group": None}, "outcome: expected numbers in 'method', got 'a' in row 1"),
        ({"reference": "b"}, "reference: no 'b'; there are a"),
        ({"tolerances": "0.01,-1"}, "tolerances: expected numbers above 0, got -1.0"),
        ({"floor": float("nan")}, "floor: expected a finite number, got nan"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_options_is_one_line(tmp_path, options, line):
    assert said(tmp_path, frame(), **options) == line


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"accuracy": True}, "outcome: expected numbers in 'accuracy', got booleans"),
        ({"accuracy": "0.5"}, "outcome: expected numbers in 'accuracy', got '0.5' in row 1"),
        ({"temperature": [0.0, *[0.1] * 29]}, "axes: temperature: a log scale needs values above 0, got 0 in row 1"),
        ({"temperature": [0.1, np.inf, *[0.1] * 28]}, "axes: temperature: expected finite values, got inf in row 2"),
        ({"temperature": [0.1, np.nan, *[0.1] * 28]},
         "axes: temperature: expected a value in every row of a, 1 have none"),
        ({"method": ["a", None, *["a"] * 28]}, "group: expected a value in every row of 'method', got none in row 2"),
        ({"seed": 0, "accuracy": np.repeat([0.5, 0.75], 15)},
         "a: batch_size=16, temperature=0.05 with seed 0: expected one outcome, got 0.5 and 0.75"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_table_is_one_line(tmp_path, changes, line):
    assert (
        said(
            tmp_path,
            frame(**changes),
        )
        == line
    )


def test_a_status_of_numbers_is_not_guessed(tmp_path):
    line = said(tmp_path, frame(code=0), status="code")
    assert line == "status: expected booleans (True: failed) or words (ok, failed), got 0"


def test_files_that_are_no_tables_are_one_line(tmp_path):
    cases = {"none.csv": None, "empty.csv": b"", "empty.parquet": b"", "other.xlsx": b"x", "damaged.parquet": b"PAR1"}
    lines = {}
    for name, content in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        lines[name] = ended(tmp_path, tmp_path / name)
    assert lines["none.csv"] == "no such file"
    assert lines["empty.csv"] == lines["empty.parquet"] == "the file is empty"
    assert lines["other.xlsx"].startswith("expected a file that ends in .parquet")
    assert lines["damaged.parquet"].startswith("the file is damaged: ")


def test_a_table_without_rows_is_one_line(tmp_path):
    assert said(tmp_path, frame().iloc[:0]) == "expected at least one row, got none"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"folder": "a", "table": "b"},
        {"table": "b"},
        {"folder": "a", "axes": "x"},
        {"folder": "a", "maximize": False},
    ],
)
def test_a_study_and_a_table_have_their_own_options(options):
    with pytest.raises(typer.BadParameter):
        report(**options)
