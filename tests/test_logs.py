import fcntl
import math
import os
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from fake_store import outcomes, planned_rows, small_study, trial_and_history
from logs_for_tests import READERS, mlflow_runs, tensorboard_columns, tensorboard_runs
from processes import command_fixture, robustness  # noqa: F401
from studies_for_tests import TINY, changed

from robustness import store
from robustness.logs import TOOLS, export_runs, following, home_of, open_log, unlogged

# MLflow maps its tables with an option that SQLAlchemy gives up.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

FIRST, SECOND = (pd.Timestamp(f"2026-01-0{day} 12:00:00.000001", tz="UTC") for day in (1, 2))
FAMILIES = {"nt_xent": {"temperature": {"values": [0.1, 0.5]}}, "untrained": "default"}
STATUSES = {(0, 0.5): "diverged", (1, 0.5): "stopped"}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path_factory):
    """No setting of whoever runs the tests, and nothing sent anywhere."""
    for name in [*os.environ]:
        if name.startswith(("WANDB_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def planned(folder):
    """The plan of a study of five trials in three packs, nothing of it stored; and its rows."""
    study = small_study(families=FAMILIES, axes={"batch_size": {"values": [16]}}, seeds=2)
    rows = planned_rows(study)
    store.prepare(folder)
    store.write_plan(folder, pd.DataFrame(rows), study.written())
    return rows


def ended(row, *, status=None):
    """A stored row and its history; those that did not end well got half way."""
    status = status or STATUSES.get((row["seed"], row["temperature"]), "ok")
    trial, history = trial_and_history(row, failed=False)
    if status != "ok":
        trial = {name: value for name, value in trial.items() if name not in store.OUTCOMES}
        trial |= {"status": status, "error": f"was {status}", "epochs": 10.0}
        history = history[:2]
    return {**trial, "finished_at": FIRST}, history


def add(folder, rows):
    for pack in {row["pack_id"] for row in rows}:
        stored = [ended(row) for row in rows if row["pack_id"] == pack]
        store.write_pack(folder, pack, [trial for trial, _ in stored], [row for _, own in stored for row in own])


def place_of(tool, folder):
    return TOOLS[tool].place(folder / tool)


def expected(row, trial, history):
    """What a tool has to show of a trial, in the words of `Seen`."""
    names = ["study", "dataset", "family", "loss", "seed", "batch_size", "temperature"]
    hyperparameters = {name: row[name] for name in names if row[name] is not None}
    values = {
        int(each["epoch"]): {
            name: [each[name]] for name in ("epoch", "updates", "images", "linear_top1", "z_effective_rank")
        }
        for each in history
    }
    numbers = {name: value for name, value in trial.items() if name in store.NUMERIC_OUTCOMES}
    numbers |= {name: trial[name] for name in ("train_seconds", "evaluate_seconds")}
    values.setdefault(math.ceil(trial["epochs"]), {}).update({name: [value] for name, value in numbers.items()})
    notes = {name: trial[name] for name in ("status", "error", "collapse") if name in trial}
    return hyperparameters, values, trial["status"] == "diverged", notes


def check(seen, row, trial, history):
    hyperparameters, values, failed, notes = expected(row, trial, history)
    assert seen.hyperparameters in (hyperparameters, {name: str(value) for name, value in hyperparameters.items()})
    assert seen.values.keys() == values.keys()
    for step, metrics in values.items():
        assert seen.values[step] == {name: pytest.approx(value, rel=1e-6) for name, value in metrics.items()}
    assert seen.failed == failed
    assert seen.notes.items() >= notes.items()


def check_all(tool, place, rows, *, again=()):
    """Every trial is one run that shows what is stored; `again` names those that were run again, well."""
    runs = READERS[tool](place)
    assert sorted(runs) == sorted(row["trial_id"] for row in rows)
    for row in rows:
        (seen,) = runs[row["trial_id"]]
        check(seen, row, *ended(row, status="ok" if row["trial_id"] in again else None))
    return runs


@pytest.mark.parametrize("tool", TOOLS)
def test_every_trial_is_one_run_whatever_was_logged_before_and_once_it_is_run_again(tool, tmp_path):
    rows, place = planned(tmp_path), place_of(tool, tmp_path / "logs")
    add(tmp_path, [row for row in rows if row["seed"] == 0])
    first = export_runs(tmp_path, tool, place)
    assert (first.added, first.present) == (3, 0)
    cut_short(tool, place, next(row["trial_id"] for row in rows if row["temperature"] == 0.1 and row["seed"] == 0))
    add(tmp_path, [row for row in rows if row["seed"] == 1])
    second = export_runs(tmp_path, tool, place)
    assert (second.added, second.present) == (len(rows) - 3 + 1, 2)
    check_all(tool, place, rows)
    assert export_runs(tmp_path, tool, place).added == 0

    (failed,) = (row for row in rows if ended(row)[0]["status"] == "diverged")
    trial, history = ended(failed, status="ok")
    store.replace_in_pack(tmp_path, failed["pack_id"], [{**trial, "finished_at": SECOND}], history)
    assert export_runs(tmp_path, tool, place).added == 1
    runs = check_all(tool, place, rows, again={failed["trial_id"]})
    if tool == "wandb":
        (seen,) = runs[failed["trial_id"]]
        assert seen.notes.items() >= {"group": "nt_xent", "job_type": "digits", "project": "small"}.items()


def cut_short(tool, place, trial_id):
    """Make the run of a trial look as a kill in its middle leaves it."""
    if tool == "tensorboard":
        (file,) = Path(place).glob(f"*/{trial_id}/*")
        file.rename(Path(place, ".part"))
    elif tool == "mlflow":
        from mlflow import MlflowClient

        client = MlflowClient(place)
        (run,) = client.search_runs(["1"], f"tags.trial_id = '{trial_id}'")
        client.update_run(run.info.run_id, status="RUNNING")
    else:
        Path(place, "logged", trial_id).unlink()


TEMPERATURE = {"values": [0.1, 0.5]}
SHOWN = {
    "two losses": ({}, {"family", "batch_size", "seed", "loss", "dataset"}),
    "one axis for all": (
        {"families": {"nt_xent": {"temperature": TEMPERATURE}, "dhel": {"temperature": 0.5}, "untrained": "default"}},
        {"family", "batch_size", "temperature", "seed", "loss"},
    ),
    "an axis that some share": (
        {"axes": {"temperature": TEMPERATURE}, "families": {"nt_xent": {}, "dhel": {}, "kcl_gaussian": {}}},
        {"family", "seed", "loss", "dataset", "learning_rate"},
    ),
}


@pytest.mark.parametrize("families", SHOWN)
def test_tensorboard_shows_first_what_every_run_has(families, tmp_path):
    changes, shown = SHOWN[families]
    study = small_study(analysis={"outcome": "z_effective_rank"}, seeds=2, **changes)
    rows = planned_rows(study)
    store.prepare(tmp_path)
    store.write_plan(tmp_path, pd.DataFrame(rows), study.written())
    log = open_log(tmp_path, "tensorboard", str(tmp_path / "logs"))
    assert tensorboard_columns(tmp_path / "logs")[1] == ["z_effective_rank"]
    add(tmp_path, rows)
    for run in unlogged(tmp_path, {}):
        log.add(run)
    hyperparameters, metrics = tensorboard_columns(tmp_path / "logs")
    assert {name for name, is_shown in hyperparameters.items() if is_shown} == shown
    runs = [run.hyperparameters.keys() for run in unlogged(tmp_path, {}) if run.family != "untrained"]
    assert all(names >= shown & {*rows[0]} - {"learning_rate"} for names in runs)
    assert hyperparameters.keys() >= {name for names in runs for name in names}
    assert metrics[0] == "z_effective_rank"
    assert {*metrics} == {*outcomes(rows[0])} - {"collapse"}
    again = open_log(tmp_path, "tensorboard", str(tmp_path / "logs"))
    assert again.logged == log.logged
    assert tensorboard_columns(tmp_path / "logs")[0] == hyperparameters


def test_hyperparameters_of_other_packages_are_logged_and_long_words_cut(tmp_path):
    rows = [{**row, "extra_hyperparameters": '{"width":2.5}', "family": "x/ü" * 400} for row in planned(tmp_path)]
    add(tmp_path, rows)
    runs = list(unlogged(tmp_path, {}))
    assert len(runs) == len(rows)
    assert {run.hyperparameters["width"] for run in runs} == {2.5}
    assert {len(run.family) for run in runs} == {500}
    assert export_runs(tmp_path, "tensorboard", str(tmp_path / "logs")).added == len(rows)
    assert tensorboard_runs(str(tmp_path / "logs")).keys() == {row["trial_id"] for row in rows}


def test_a_log_follows_what_is_stored_and_at_the_end_what_was_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr("robustness.logs.follow._SECONDS_BETWEEN_LOOKS", 0.01)
    folder, rows = tmp_path / "results", planned(tmp_path / "results")
    place = place_of("tensorboard", home_of(folder))
    (failed,) = (row for row in rows if ended(row)[0]["status"] == "diverged")
    with following(folder, ["tensorboard"]):
        for seed in (0, 1):
            add(folder, [row for row in rows if row["seed"] == seed])
            until(lambda: len(events(place)) == len(store.read(folder)))
        trial, history = ended(failed, status="ok")
        store.replace_in_pack(folder, failed["pack_id"], [{**trial, "finished_at": SECOND}], history)
    check_all("tensorboard", place, rows, again={failed["trial_id"]})


def events(place):
    return list(Path(place).glob("*/*/events*"))


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_where_the_sweep_ends_with_an_error_the_rest_is_left_to_the_same_command(tmp_path):
    folder, rows = tmp_path / "results", planned(tmp_path / "results")
    add(folder, rows)
    with pytest.raises(KeyboardInterrupt), following(folder, ["tensorboard"]):
        raise KeyboardInterrupt
    assert not events(home_of(folder) / "tensorboard")
    with following(folder, ["tensorboard"]):
        pass
    assert len(events(home_of(folder) / "tensorboard")) == len(rows)


def test_two_sweeps_of_a_folder_do_not_log_twice(tmp_path, capsys):
    folder, rows = tmp_path / "results", planned(tmp_path / "results")
    add(folder, rows)
    home = home_of(folder) / "wandb"
    home.mkdir(parents=True)
    with (home / ".lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with following(folder, ["wandb"]):
            pass
    assert capsys.readouterr().err.startswith("--log wandb: another sweep of this folder logs there; ")
    assert not (home / "logged").exists()


@pytest.mark.parametrize("tool", TOOLS)
def test_a_log_that_fails_is_one_line_and_the_others_go_on(tool, tmp_path, monkeypatch, capsys):
    folder, rows = tmp_path / "results", planned(tmp_path / "results")
    add(folder, rows)
    if tool == "mlflow":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    elif tool == "wandb":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    else:
        (home_of(folder) / "tensorboard").parent.mkdir()
        (home_of(folder) / "tensorboard").touch()
    other = "wandb" if tool == "tensorboard" else "tensorboard"
    with following(folder, [tool, other]):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"--log {tool}: can't log: ")
    assert line.endswith("; the sweep goes on, the same command logs what is missing")
    assert READERS[other](place_of(other, home_of(folder))).keys() == {row["trial_id"] for row in rows}


def test_logs_of_results_at_a_uri_are_in_a_local_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert home_of(store.open_folder("memory://bucket/mine")) == tmp_path / "logs" / "mine"


@pytest.mark.parametrize("tool", TOOLS)
def test_a_missing_extra_is_one_line_before_anything_runs(tool, tmp_path, monkeypatch, command):
    monkeypatch.setitem(sys.modules, tool, None)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    for arguments in (("sweep", "tiny.yaml", "--log", tool), ("export", "results/tiny", f"--{tool}", "place")):
        done = command(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        hint = f'{tool} is not installed: pip install "robustness[{tool}]"'
        assert done.stderr in (f"--log: {hint}\n", f"--{tool}: {hint}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_an_unknown_tool_is_one_line(tmp_path, command):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    done = command("run", "tiny.yaml", "--log", "tensorbord")
    assert done.returncode == 2
    assert done.stderr == "--log: expected one of tensorboard, mlflow, wandb, got 'tensorbord'\n"


def test_a_real_sweep_is_logged_to_all_three_once_even_where_one_was_broken(tmp_path):
    changes = {
        "families.dhel": None, "axes.batch_size.values": [256], "training": {"epochs": 2},
        "evaluation": {"probes": ["knn"], "every": 1}, "analysis": {"outcome": "knn_top1"},
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(changed(TINY, changes)))
    home = tmp_path / "out" / "logs"
    home.mkdir(parents=True)
    (home / "wandb").touch()
    arguments = ("sweep", "tiny.yaml", "--out", "out", *(part for tool in TOOLS for part in ("--log", tool)))
    done = robustness(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("--log") == done.stderr.count("--log wandb: can't log: ") == 1
    assert "Traceback" not in done.stderr
    assert len(tensorboard_runs(place_of("tensorboard", home))) == len(mlflow_runs(place_of("mlflow", home))) == 6

    (home / "wandb").unlink()
    done = robustness(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 trials planned, 0 trained now" in done.stdout
    stored = store.read(tmp_path / "out").set_index("trial_id")
    for tool in TOOLS:
        runs = READERS[tool](place_of(tool, home))
        assert sorted(runs) == sorted(stored.index)
        for trial_id, (seen,) in runs.items():
            row = stored.loc[trial_id]
            last = max(seen.values)
            assert last == math.ceil(row["epochs"])
            assert seen.values[last]["knn_top1"] == [pytest.approx(row["knn_top1"])]
            assert seen.hyperparameters["family"] == row["family"]
            if row["family"] == "nt_xent":
                assert sorted(seen.values) == [1, 2]
                assert float(seen.hyperparameters["temperature"]) == row["temperature"]
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("tiny.yaml", "out")] == []
