import re
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from simulated import GRID, study

from analysis.report import write_table
from analysis.table import TableError
from analysis.table.tidy import from_frame
from robustness import store
from robustness.cli.application import main
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
         "axes: temperature: unknown scale 'lgo'; expected linear, log, log2, category; did you mean 'log'?"),
        ({"axes": "temperature,temperature"}, "axes: 'temperature' is named twice"),
        ({"axes": "temperature,accuracy"}, "axes: 'accuracy' is the outcome already"),
        ({"axes": "method:log", "group": None}, "axes: method: expected numbers in 'method', got 'a' in row 1"),
        ({"outcome": "method", "group": None}, "outcome: expected numbers in 'method', got 'a' in row 1"),
        ({"reference": "b"}, "reference: no 'b'; there are a"),
        ({"floor": "0.9"},
         "floor: expected a value no better than the best finished outcome 0.64 (to maximise), got 0.9"),
        ({"floor": "-1e200"}, "floor: expected a finite number from -1e+50 to 1e+50, got -1e+200"),
        ({"normalised": True}, "normalised: expected --dataset with at least two data sets, got one data set"),
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
         "axes: temperature: expected a value in every row of a, got none in row 2"),
        ({"method": ["a", None, *["a"] * 28]}, "group: expected a value in every row of 'method', got none in row 2"),
        ({"seed": 0, "accuracy": np.repeat([0.5, 0.75], 15)},
         "a: batch_size=16, temperature=0.05 with seed 0: expected one outcome, got 0.5 and 0.75"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_table_is_one_line(tmp_path, changes, line):
    assert said(tmp_path, frame(**changes)) == line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["maybe", *["no"] * 29], "unknown word 'maybe' in 'bad' (1 row)"),
        (["ok", *["no"] * 29], "unknown word 'no' in 'bad' (29 rows)"),
        ([2, *[0] * 29], "unknown word '2' in 'bad' (1 row)"),
        ([0.5] * 30, "unknown word '0.5' in 'bad' (30 rows)"),
    ],
)
def test_a_status_is_not_guessed(tmp_path, words, line):
    assert said(tmp_path, frame(bad=words), status="bad") == f"status: {line}; expected ok, stopped or failed"


@pytest.mark.parametrize(
    ("changes", "axes", "line"),
    [
        ({"accuracy": ["0.5"] * 5 + ["n/a?"] + ["0.5"] * 24}, "temperature",
         "outcome: expected numbers in 'accuracy', got 'n/a?' in row 6"),
        ({"temperature": ["0.1"] * 5 + ["1_0"] + ["0.1"] * 24}, "temperature:log",
         "axes: temperature: expected numbers in 'temperature', got '1_0' in row 6"),
        ({"temperature": ["0.1"] * 2 + ["auto"] * 28}, "temperature",
         "axes: temperature: expected numbers or words, got '0.1' in row 1 and 'auto' in row 3; "
         "categories are declared as 'temperature:category'"),
        ({"accuracy": [0.5, 1e300, *[0.5] * 28]}, "temperature",
         "outcome: expected values from -1e+50 to 1e+50 in 'accuracy', got 1e+300 in row 2"),
        ({"temperature": [0.5, 1e300, *[0.5] * 28]}, "temperature",
         "axes: temperature: expected values from -1e+50 to 1e+50 in 'temperature', got 1e+300 in row 2"),
        ({"method": ["a", " ", *["a"] * 28]}, "temperature",
         "group: expected a name in every row of 'method', got ' ' in row 2"),
    ],
)  # fmt: skip
def test_the_cell_that_is_wrong_is_named(tmp_path, changes, axes, line):
    assert said(tmp_path, frame(**changes), axes=axes) == line
    path = tmp_path / "runs.csv"
    frame(**changes).to_csv(path, index=False)
    assert ended(tmp_path, path, axes=axes) == line


def test_a_list_in_a_cell_is_one_line(tmp_path):
    line = said(tmp_path, frame(temperature=[[1, 2]] * 30), axes="temperature")
    assert line == "axes: temperature: expected a number or a word in 'temperature', got array([1, 2]) in row 1"


def test_outcomes_that_are_not_normalised_are_one_line(tmp_path):
    rows = frame(place=["a", "b"] * 15, accuracy=[0.5, 50.0, *[0.5] * 28])
    line = said(tmp_path, rows, normalised=True, dataset="place")
    assert line == "normalised: expected outcomes from 0 to 1, got 50 in row 2"


def test_the_largest_outcomes_and_floors_are_analysed(tmp_path):
    trials = study(num_families=2, seeds=3).trials
    outcome = 1e50 * trials["linear_top1"] / trials["linear_top1"].max()
    rows = trials.assign(linear_top1=outcome, bad=trials.index == 0)
    table = from_frame(rows, axes="temperature:log,batch_size:log2", outcome="linear_top1", replicate="seed",
                       status="bad", group="family", floor=-1e50, reference="family_0")  # fmt: skip
    assert write_table(table, tmp_path).is_file()


def test_columns_of_the_same_name_are_one_line(tmp_path):
    rows = frame().assign(other=0.1).rename(columns={"other": "accuracy"})
    csv, parquet = tmp_path / "runs.csv", tmp_path / "runs.parquet"
    rows.to_csv(csv, index=False)
    columns = pa.Table.from_pandas(frame().assign(other=0.1), preserve_index=False)
    pq.write_table(columns.rename_columns(list(rows.columns)), parquet)
    for path in (csv, parquet):
        assert ended(tmp_path, path) == "two columns named 'accuracy'"
    with pytest.raises(TableError, match="two columns named 'accuracy'"):
        from_frame(rows, axes="temperature", outcome="accuracy")


def test_text_of_another_kind_is_one_line(tmp_path):
    rows = frame(method="caf\u00e9")
    text = rows.to_csv(index=False)
    rows.to_parquet(tmp_path / "x")
    cases = {
        "a.csv": (
            rows.to_csv(index=False, sep=";").encode(),
            "expected columns separated by ','; the separator looks like ';'",
        ),
        "b.csv": (
            rows.to_csv(index=False, sep="\t").encode(),
            "expected columns separated by ','; the separator looks like '\\t'",
        ),
        "c.tsv": (text.encode(), "expected columns separated by '\\t'; the separator looks like ','"),
        "d.csv": (text.encode("latin-1"), "expected UTF-8 text"),
        "e.csv": (text.encode("utf-16"), "expected UTF-8 text"),
        "f.csv": ((tmp_path / "x").read_bytes(), "the file is Parquet; expected a name that ends in .parquet"),
        "g.parquet": (text.encode(), "expected a Parquet file, which starts with PAR1; text ends in .csv"),
    }
    for name, (content, line) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert ended(tmp_path, tmp_path / name) == line
    (tmp_path / "h.csv").mkdir()
    assert ended(tmp_path, tmp_path / "h.csv") == "is a folder; expected a file"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"floor": "abc"}, "--floor: expected a finite number, got 'abc'"),
        ({"floor": "inf"}, "--floor: expected a finite number, got 'inf'"),
        ({"tolerances": "inf"}, "--tolerances: expected finite numbers above 0 such as 0.01,0.02, got 'inf'"),
        ({"tolerances": "0.01,,-1"}, "--tolerances: expected finite numbers above 0 such as 0.01,0.02, got '0.01,,-1'"),
    ],
)
def test_a_wrong_number_names_its_option(tmp_path, options, line):
    with pytest.raises(typer.BadParameter) as caught:
        report(table="none.csv", axes="a", outcome="b", out=str(tmp_path / "out"), **options)
    assert str(caught.value) == line


def test_the_help_says_the_scales_of_axes(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["robustness", "report", "--help"])
    with pytest.raises(SystemExit):
        main()
    said = " ".join(re.sub(r"[^\x20-\x7e]", " ", capsys.readouterr().out).split())
    assert "(linear, log, log2, category)" in said
    assert "without one numbers are linear and words categories" in said


def test_a_mistake_in_the_options_points_at_the_help_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["robustness", "report", "--table", "a.csv", "--normalized"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "No such option: --normalized; see robustness report --help\n"


def test_where_to_write_is_checked_first(tmp_path):
    (tmp_path / "file").touch()
    cases = {
        str(tmp_path / "file"): f"--out: '{tmp_path / 'file'}' is a file; expected a folder",
        str(tmp_path / "file" / "sub"): f"--out: '{tmp_path / 'file'}' is a file; expected a folder",
        "/proc/nowhere": "--out: can't write in '/proc': No such file or directory",
        "": "--out: expected a folder, got ''",
    }
    for out, line in cases.items():
        with pytest.raises(store.StoreError) as caught:
            report(table="none.csv", axes="a", outcome="b", out=out)
        assert str(caught.value) == line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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
        {"folders": ["a"], "table": "b"},
        {"table": "b"},
        {"folders": ["a"], "axes": "x"},
        {"folders": ["a"], "maximize": False},
        {"folders": ["a", "b"]},
    ],
)
def test_a_study_and_a_table_have_their_own_options(options):
    with pytest.raises(typer.BadParameter):
        report(**options)
