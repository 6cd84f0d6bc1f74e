import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_store import small_study, trial_and_history, write_store
from jsonschema import Draft202012Validator
from processes import command_fixture, robustness  # noqa: F401
from s3_for_tests import s3_fixture, s3_server_fixture  # noqa: F401
from studies_for_tests import TINY, changed

from robustness import store
from robustness.cli import app
from robustness.cli.schema import study_schema
from robustness.models import build
from robustness.plan import plan
from robustness.status import standing
from robustness.trial import Trial
from search_spaces import load_study, parse_study, shipped_studies
from search_spaces.documents import read_document

MISTAKES = {
    "unknown family": ({"families.dhle": "default"}, "families.dhle: no family of this name; did you mean 'dhel'?"),
    "unknown key": ({"trainig": {}}, "trainig: no such key; did you mean 'training'?"),
    "low above high": ({"families.dhel.temperature": {"low": 2, "high": 1}}, "expected low < high, got low=2, high=1"),
    "temperature 0": ({"families.dhel.temperature": 0}, "temperature: expected a number above 0, got 0"),
    "log through 0": (
        {"axes.weight_decay": {"low": 0, "high": 1, "scale": "log"}},
        "a log scale needs low above 0, got low=0",
    ),
    "large batch": ({"axes.batch_size": 5000}, "digits has 1024 training images, got a batch size of 5000"),
    "no trials": ({"seeds": 0}, "the study plans 0 trials"),
}


def write_study(folder, study):
    path = folder / "my.yaml"
    path.write_text(study if isinstance(study, str) else yaml.safe_dump(study))
    return path


def assert_one_line(done, *words):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_study_is_one_line_before_anything_is_written(tmp_path, command, mistake):
    changes, message = MISTAKES[mistake]
    assert_one_line(command("sweep", write_study(tmp_path, changed(TINY, changes))), "my.yaml: ", message)
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


def test_malformed_yaml_names_its_line(tmp_path, command):
    done = command("sweep", write_study(tmp_path, "name: x\nfamilies: [a"))
    assert_one_line(done, "line 2", "not valid YAML")


def test_a_missing_file_is_one_line(tmp_path):
    assert_one_line(robustness("sweep", "nowhere.yaml", cwd=tmp_path), "nowhere.yaml: can't read the study file")


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path, command):
    (tmp_path / "occupied").write_text("a file")
    done = command("sweep", write_study(tmp_path, TINY), "--out", "occupied")
    assert_one_line(done, "occupied: can't write results here")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(tmp_path, command):
    (tmp_path / "locked").mkdir(mode=0o500)
    done = command("sweep", write_study(tmp_path, TINY), "--out", "locked/out")
    assert_one_line(done, "can't write results here")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training.updates": 6}, "training.updates 5 -> 6 is another study"),
        ({"model.projector": [64, 32]}, "model.projector [128, 32] -> [64, 32] is another study"),
        ({"data.augmentation": "affine"}, "data.augmentation (none) -> affine is another study"),
    ],
)
def test_a_folder_with_another_study_says_what_differs_and_what_to_do(tmp_path, command, change, words):
    planned(tmp_path / "out")
    done = command("sweep", write_study(tmp_path, changed(TINY, change)), "--out", "out")
    assert_one_line(done, words, "choose another --out")


def planned(folder, **changes):
    """The plan of a tiny study in a folder, and nothing trained; returns its rows."""
    study = parse_study(changed(TINY, changes), "x")
    rows = plan(study)
    store.prepare(folder)
    store.write_plan(folder, rows, study.written())
    return rows


ON_RESULTS = {
    "status": [],
    "report": [],
    "trial": ["f" * 32],
    "embed": ["f" * 32, "--out", "e.npz"],
    "verify": [],
    "compact": [],
    "export": ["--csv", "trials.csv"],
}


@pytest.mark.parametrize("name", ON_RESULTS)
def test_a_folder_without_a_study_is_one_line(tmp_path, command, name):
    assert_one_line(command(name, tmp_path, *ON_RESULTS[name]), "no study here")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ON_RESULTS)
def test_a_uri_of_an_unknown_protocol_is_one_line(command, name):
    assert_one_line(command(name, "s4://bucket/x", *ON_RESULTS[name]), "s4://bucket/x: no such protocol: s4")


def test_an_out_of_an_unknown_protocol_is_one_line(tmp_path, command):
    done = command("sweep", write_study(tmp_path, TINY), "--out", "s4://bucket/x")
    assert_one_line(done, "s4://bucket/x: no such protocol: s4")


def test_more_cpus_than_there_are_is_one_line(tmp_path):
    path = write_study(tmp_path, changed(TINY, {"resources.cpus_per_pack": 4096}))
    done = robustness("sweep", path, cwd=tmp_path)
    assert_one_line(done, "resources.cpus_per_pack: expected at most", "got 4096")


@pytest.mark.parametrize(
    "arguments",
    [["swep"], ["sweep"], ["sweep", "--nonsense"], ["sweep", "quickstart", "--limit", "0"], ["export", "x"]],
)
def test_a_misspelt_command_is_one_line(command, arguments):
    assert_one_line(command(*arguments), "see robustness --help")


def test_plan_counts_trials_and_packs_and_trains_nothing(tmp_path, command):
    done = command("plan", "quickstart")
    assert done.returncode == 0
    assert "quickstart: 530 trials in 35 packs" in done.stdout
    assert not list(tmp_path.iterdir())


def test_studies_lists_what_ships(tmp_path):
    done = robustness("studies", cwd=tmp_path)
    assert done.returncode == 0
    assert all(name in done.stdout for name in shipped_studies())


def test_the_readme_shows_only_commands_that_exist():
    text = (Path(__file__).parent.parent / "README.md").read_text()
    known = {command.callback.__name__ for command in app.registered_commands}
    used = set(re.findall(r"bin/robustness (\w+)", text))
    assert used
    assert used <= known


@pytest.fixture(scope="module")
def validator():
    return Draft202012Validator(study_schema())


def test_the_schema_is_one_and_is_printed(command, validator):
    assert json.loads(command("schema").stdout) == validator.schema
    Draft202012Validator.check_schema(validator.schema)


def test_the_schema_takes_every_study_that_ships_as_it_is_and_written_out(validator):
    for name, text in shipped_studies().items():
        validator.validate(read_document(name, text))
        validator.validate(load_study(name).written())


STRUCTURAL = {
    "unknown family": {"families.dhle": "default"},
    "unknown key": {"trainig": {}},
    "unknown hyperparameter": {"families.dhel.bandwidth": 1},
    "no such loss": {"families.mine": {"loss": "dhle"}},
    "another loss's hyperparameter": {"families.cold": {"loss": "dhel", "bandwidth": 1}},
    "half a range": {"families.dhel.temperature": {"low": 0.1}},
    "temperature 0": {"families.dhel.temperature": 0},
    "a value that is too small": {"axes.batch_size.values": [1, 64]},
    "a range of what a pack shares": {"axes.batch_size": {"low": 2, "high": 64}},
    "a scale that is none": {"axes.batch_size.scale": "log10"},
    "an axis that is none": {"axes.temprature": 0.1},
    "an untrained hyperparameter": {"families.untrained": {"temperature": 0.1}},
    "no data": {"data": None},
}


@pytest.mark.parametrize("mistake", STRUCTURAL)
def test_the_schema_refuses_what_the_study_file_refuses(validator, mistake):
    validator.validate(TINY)
    study = changed(TINY, STRUCTURAL[mistake])
    assert not validator.is_valid(study)
    with pytest.raises(ValueError, match="x: "):
        parse_study(study, "x")


@pytest.mark.parametrize(
    ("statuses", "code"),
    [(["ok"], 0), (["ok", "diverged"], 1), (["ok", "stopped"], 0), (["ok", "stopped", "error"], 1)],
)
def test_the_exit_code_of_a_sweep_says_whether_trials_failed(tmp_path, command, statuses, code):
    fill(tmp_path / "out", planned(tmp_path / "out"), statuses)
    done = command("sweep", write_study(tmp_path, TINY), "--out", "out")
    assert done.returncode == code
    assert "18 trials planned, 0 trained now" in done.stdout
    assert f"{len(failed(tmp_path / 'out'))} failed, 0 left" in done.stdout


def fill(folder, rows, statuses):
    """Store every planned trial as if it had ended, with these statuses in turn."""
    rows = [{**row, "batch_size": int(row["batch_size"] or 0) or None} for row in records(rows)]
    ends = {row["trial_id"]: statuses[place % len(statuses)] for place, row in enumerate(rows)}
    for pack in {row["pack_id"] for row in rows}:
        stored = [
            {**trial_and_history(row, failed=ends[row["trial_id"]] != "ok")[0], "status": ends[row["trial_id"]],
             "finished_at": datetime(2026, 1, 1, tzinfo=UTC)}
            for row in rows if row["pack_id"] == pack
        ]  # fmt: skip
        store.write_pack(folder, pack, stored, [])


def records(rows):
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def failed(folder):
    stored = store.read(folder)
    return stored[~stored["status"].isin(["ok", "stopped"])]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Three of the trials of a study of small packs, trained by the command with a limit, and how it ended."""
    folder = tmp_path_factory.mktemp("swept")
    path = write_study(folder, changed(TINY, {"pack.size": 1}))
    done = robustness("sweep", path, "--out", "out", "--limit", 3, cwd=folder)
    return folder / "out", done


def test_a_limit_leaves_trials_and_that_is_no_failure(swept):
    folder, done = swept
    assert done.returncode == 0, done.stderr
    assert len(store.read(folder)) == 3
    assert "18 trials planned, 3 trained now" in done.stdout
    assert "0 failed, 15 left" in done.stdout


def test_a_trial_that_is_run_again_has_the_stored_outcomes_and_is_not_stored(swept, command):
    folder, _ = swept
    before = contents(folder)
    for _, row in store.read(folder).iterrows():
        done = command("trial", folder, row["trial_id"][:12])
        assert done.returncode == 0
        assert re.search(r"^agrees bit by bit in all \d+ outcomes$", done.stdout, re.MULTILINE), done.stdout
        assert re.search(rf"final_loss .* {row['final_loss']:.6g} ", done.stdout)
    assert contents(folder) == before


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_trial_that_scores_otherwise_now_says_by_how_much(swept, tmp_path, command):
    folder, _ = swept
    store.prepare(tmp_path / "other")
    store.write_plan(tmp_path / "other", store.read_plan(folder), store.read_study(folder))
    row, *_ = records(store.read(folder).drop(columns=["h_spectrum", "z_spectrum"]))
    store.write_pack(tmp_path / "other", row["pack_id"], [row | {"knn_top1": row["knn_top1"] - 0.25}], [])
    done = command("trial", "other", row["trial_id"])
    assert done.returncode == 0
    assert re.search(
        r"^differs in 1 of \d+ outcomes, knn_top1 by \+0.25; on an equal machine", done.stdout, re.MULTILINE
    )


def test_a_trial_that_is_not_stored_prints_the_loss_of_every_epoch(tmp_path, command):
    rows = planned(tmp_path / "out", **{"training.updates": 9, "axes.batch_size.values": [256]})
    trial_id = rows.loc[rows["family"] == "dhel", "trial_id"].iloc[0]
    done = command("trial", "out", trial_id)
    assert done.returncode == 0
    assert "not stored yet" in done.stdout
    assert re.findall(r"^ +([\d.]+) +(\d+) +\d", done.stdout, re.MULTILINE) == [("1", "4"), ("2", "8"), ("2.25", "9")]


def test_a_trial_that_fails_says_so_and_ends_with_1(tmp_path, command):
    rows = planned(tmp_path / "out", **{"axes.learning_rate": 1e30})
    done = command("trial", "out", rows["trial_id"].iloc[0])
    assert done.returncode == 1
    assert re.search(r"^diverged: the loss was not finite", done.stdout, re.MULTILINE)


def test_the_id_of_no_trial_or_of_several_is_one_line(tmp_path, command):
    rows = planned(tmp_path / "out")
    assert_one_line(command("trial", "out", "no"), "out: no trial with this id is planned here: no")
    first = rows["trial_id"].str[0]
    shared = first[first.duplicated()].iloc[0]
    assert_one_line(command("trial", "out", shared), f"expected the id of one trial, got '{shared}', which begins ")


def test_verify_and_compact_say_how_the_folder_is(tmp_path, command):
    folder = tmp_path / "out"
    rows = planned(folder)
    fill(folder, rows, ["ok"])
    before = store.read(folder)
    assert command("verify", "out").returncode == 0
    assert command("compact", "out").returncode == 0
    pd.testing.assert_frame_equal(store.read(folder), before)
    assert len(list((folder / "trials").glob("*.parquet"))) == 1
    (file,) = (folder / "trials").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-100])
    done = command("verify", "out")
    assert done.returncode == 1
    assert file.name in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--csv", "nowhere/t.csv"], "--csv: nowhere: no such folder"),
        (["--csv", "."], "--csv: .: expected a file, got a folder"),
        (["--optuna", "nonsense"], "--optuna: nonsense: can't open this database"),
        (["--optuna", "nonsense://x"], "--optuna: nonsense://x: can't open this database"),
        (
            ["--optuna", "sqlite:////nowhere/x.db"],
            "can't open this database: (sqlite3.OperationalError) unable to open",
        ),
        (["--optuna", "redis://localhost"], "--optuna: redis://localhost: can't open this database"),
    ],
)
def test_a_mistake_in_export_is_one_line(tmp_path, command, options, message):
    planned(tmp_path / "out")
    assert_one_line(command("export", "out", *options), message)


def test_results_on_an_object_store_are_read_and_reported_there(s3, command):
    write_store(store.open_folder(s3), small_study())
    assert "39 of 39 trials stored, 0 left" in command("status", s3).stdout
    assert command("report", s3).stdout == f"report: {s3}/report/index.html\n"
    folder = store.open_folder(s3) / "report"
    page = (folder / "index.html").read_text("utf-8")
    linked = set(re.findall(r'"((?:figures|tables)/[^"]+)"', page))
    assert {name.partition("/")[0] for name in linked} == {"figures", "tables"}
    assert all((folder / name).read_bytes() for name in linked)
    assert command("export", s3, "--csv", "t.csv").stdout == "39 trials: t.csv\n"


def test_a_pack_on_an_object_store_runs_while_its_checkpoint_is_young(s3):
    folder = store.open_folder(s3)
    rows = planned(folder)
    store.write_bytes(folder / "checkpoints" / rows["pack_id"].iloc[0] / "checkpoint.pt", b"weights", replace=True)
    assert standing(folder).total.running == (rows["pack_id"] == rows["pack_id"].iloc[0]).sum()


def kept_encoder(folder, **changes):
    """A planned study in `results` with the encoder of its first trial as it was drawn; the trial's id."""
    rows = planned(folder / "results", **changes)
    trial = Trial.from_json(rows["trial"].iloc[0])
    network = build("mlp", trial.model["projector"], dataset=trial.dataset, batch_norm=False, seed=trial.seed)
    store.write_encoder(folder / "results", trial.trial_id, network.state_dict())
    return trial.trial_id


def test_embed_writes_a_file_and_says_how_many_rows(tmp_path, command):
    trial_id = kept_encoder(tmp_path)
    done = command("embed", "results", trial_id[:12], "--out", "e.npz")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1,797 embeddings: e.npz" in done.stdout
    assert (tmp_path / "e.npz").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["f" * 32, "--out", "e.npz"], "results: no trial with this id is planned here: ffff"),
        (["{}", "--out", "e.csv"], "--out: expected a file that ends in .npz or .parquet, got 'e.csv'"),
        (["{}", "--out", "nowhere/e.npz"], "--out: nowhere: no such folder"),
        (["{}", "--out", "folder.npz"], "--out: folder.npz: can't write this file: Is a directory"),
        (["{}"], "Missing option '--out'; see robustness --help"),
    ],
)
def test_a_mistake_in_embed_is_one_line(tmp_path, command, options, message):
    (tmp_path / "folder.npz").mkdir()
    trial_id = kept_encoder(tmp_path)
    done = command("embed", "results", *(text.format(trial_id) for text in options))
    assert_one_line(done, message)


def test_embed_of_an_encoder_that_was_not_kept_is_one_line(tmp_path, command):
    trial_id = kept_encoder(tmp_path)
    store.remove_encoder(tmp_path / "results", trial_id)
    done = command("embed", "results", trial_id, "--out", "e.npz")
    assert_one_line(done, "results: the encoder of trial", "was not kept; set evaluation.keep to best or all")


def test_embed_of_another_protocol_s_trial_is_one_line(tmp_path, monkeypatch, command):
    trial_id = kept_encoder(tmp_path)
    monkeypatch.setattr("robustness.trial.PROTOCOL_VERSION", 10**6)
    done = command("embed", "results", trial_id, "--out", "e.npz")
    assert_one_line(done, "results: planned under protocol")


def test_embed_of_images_that_are_gone_is_one_line(tmp_path, command):
    rng = np.random.default_rng(0)
    images = {f"{part}_images": rng.integers(0, 255, (60, 8, 8), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.arange(60) % 3 for part in ("train", "test")}
    np.savez(tmp_path / "own.npz", **images, **labels)
    data = {"npz": str(tmp_path / "own.npz"), "augmentation": "affine"}
    trial_id = kept_encoder(tmp_path, **{"data": data, "axes.batch_size.values": [8]})
    (tmp_path / "own.npz").unlink()
    done = command("embed", "results", trial_id, "--out", "e.npz")
    assert_one_line(done, "own.npz", "can't read this file")
