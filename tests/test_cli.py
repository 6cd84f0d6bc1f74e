import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from processes import robustness
from studies_for_tests import TINY, changed

from robustness import store
from robustness.cli import main
from robustness.models import build
from robustness.plan import plan
from robustness.trial import Trial
from search_spaces import parse_study, shipped_studies

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


def run(folder, study, *options, command="sweep"):
    path = folder / "my.yaml"
    path.write_text(study if isinstance(study, str) else yaml.safe_dump(study))
    return robustness(command, path, *options, cwd=folder)


def assert_one_line(done, *words):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_study_is_one_line_before_anything_is_written(tmp_path, mistake):
    changes, message = MISTAKES[mistake]
    assert_one_line(run(tmp_path, changed(TINY, changes)), "my.yaml: ", message)
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


def test_malformed_yaml_names_its_line(tmp_path):
    assert_one_line(run(tmp_path, "name: x\nfamilies: [a"), "line 2", "not valid YAML")


def test_a_missing_file_is_one_line(tmp_path):
    assert_one_line(robustness("sweep", "nowhere.yaml", cwd=tmp_path), "nowhere.yaml: can't read the study file")


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path):
    (tmp_path / "occupied").write_text("a file")
    assert_one_line(run(tmp_path, TINY, "--out", "occupied"), "occupied: can't write results here")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_one_line(run(tmp_path, TINY, "--out", "locked/out"), "can't write results here")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training.updates": 6}, "training.updates 5 -> 6 is another study"),
        ({"model.projector": [64, 32]}, "model.projector [128, 32] -> [64, 32] is another study"),
        ({"data.augmentation": "affine"}, "data.augmentation (none) -> affine is another study"),
    ],
)
def test_a_folder_with_another_study_says_what_differs_and_what_to_do(tmp_path, change, words):
    study = parse_study(TINY, "x")
    store.prepare(tmp_path / "out")
    store.write_plan(tmp_path / "out", plan(study), study.written())
    assert_one_line(run(tmp_path, changed(TINY, change), "--out", "out"), words, "choose another --out")


@pytest.mark.parametrize("command", [["status"], ["report"], ["embed", "f" * 32, "--out", "e.npz"]])
def test_a_folder_without_a_study_is_one_line(tmp_path, command):
    name, *others = command
    assert_one_line(robustness(name, tmp_path, *others, cwd=tmp_path), "no study here")


def test_more_cpus_than_there_are_is_one_line(tmp_path):
    study = changed(TINY, {"resources.cpus_per_pack": 4096})
    done = run(tmp_path, study)
    assert_one_line(done, "resources.cpus_per_pack: expected at most", "got 4096")


@pytest.mark.parametrize("arguments", [["swep"], ["sweep"], ["sweep", "--nonsense"]])
def test_a_misspelt_command_is_one_line(tmp_path, arguments):
    assert_one_line(robustness(*arguments, cwd=tmp_path), "see robustness --help")


def test_plan_counts_trials_and_packs_and_trains_nothing(tmp_path):
    done = robustness("plan", "quickstart", cwd=tmp_path)
    assert done.returncode == 0
    assert "quickstart: 530 trials in 35 packs" in done.stdout
    assert not list(tmp_path.iterdir())


def test_studies_lists_what_ships(tmp_path):
    done = robustness("studies", cwd=tmp_path)
    assert done.returncode == 0
    assert all(name in done.stdout for name in shipped_studies())


def test_status_counts_what_is_left(tmp_path):
    study = parse_study(TINY, "x")
    store.prepare(tmp_path)
    store.write_plan(tmp_path, plan(study), study.written())
    done = robustness("status", tmp_path, cwd=tmp_path)
    assert "0 of 18 trials stored, 18 left" in done.stdout


def test_the_readme_shows_only_commands_that_exist():
    text = (Path(__file__).parent.parent / "README.md").read_text()
    from robustness.cli import app

    known = {command.callback.__name__ for command in app.registered_commands}
    used = set(re.findall(r"bin/robustness (\w+)", text))
    assert used
    assert used <= known


def kept_encoder(folder, **changes):
    """A planned study in `results` with the encoder of its first trial as it was drawn; the trial's id."""
    study = parse_study(changed(TINY, changes), "x")
    rows = plan(study)
    store.prepare(folder / "results")
    store.write_plan(folder / "results", rows, study.written())
    trial = Trial.from_json(rows["trial"].iloc[0])
    network = build("mlp", trial.model["projector"], dataset=trial.dataset, batch_norm=False, seed=trial.seed)
    store.write_encoder(folder / "results", trial.trial_id, network.state_dict())
    return trial.trial_id


def embed_here(folder, monkeypatch, capsys, *arguments):
    """`robustness embed` in this process: its exit code and what it printed."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["robustness", "embed", "results", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return SimpleNamespace(returncode=end.value.code, **capsys.readouterr()._asdict())


def assert_mistake(done, *words):
    assert_one_line(SimpleNamespace(returncode=done.returncode, stdout=done.out, stderr=done.err), *words)


def test_embed_writes_a_file_and_says_how_many_rows(tmp_path):
    trial_id = kept_encoder(tmp_path)
    done = robustness("embed", "results", trial_id, "--out", "e.npz", cwd=tmp_path)
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
        (["{}"], "out; see robustness --help"),
    ],
)
def test_a_mistake_in_embed_is_one_line(tmp_path, monkeypatch, capsys, options, message):
    (tmp_path / "folder.npz").mkdir()
    trial_id = kept_encoder(tmp_path)
    assert_mistake(embed_here(tmp_path, monkeypatch, capsys, *(text.format(trial_id) for text in options)), message)


def test_embed_of_an_encoder_that_was_not_kept_is_one_line(tmp_path, monkeypatch, capsys):
    trial_id = kept_encoder(tmp_path)
    store.remove_encoder(tmp_path / "results", trial_id)
    done = embed_here(tmp_path, monkeypatch, capsys, trial_id, "--out", "e.npz")
    assert_mistake(done, "results: the encoder of trial", "was not kept; set evaluation.keep to best or all")


def test_embed_of_another_protocol_s_trial_is_one_line(tmp_path, monkeypatch, capsys):
    trial_id = kept_encoder(tmp_path)
    monkeypatch.setattr("robustness.trial.PROTOCOL_VERSION", 10**6)
    done = embed_here(tmp_path, monkeypatch, capsys, trial_id, "--out", "e.npz")
    assert_mistake(done, "results: planned under protocol")


def test_embed_of_images_that_are_gone_is_one_line(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    images = {f"{part}_images": rng.integers(0, 255, (60, 8, 8), dtype=np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.arange(60) % 3 for part in ("train", "test")}
    np.savez(tmp_path / "own.npz", **images, **labels)
    data = {"npz": str(tmp_path / "own.npz"), "augmentation": "affine"}
    trial_id = kept_encoder(tmp_path, **{"data": data, "axes.batch_size.values": [8]})
    (tmp_path / "own.npz").unlink()
    done = embed_here(tmp_path, monkeypatch, capsys, trial_id, "--out", "e.npz")
    assert_mistake(done, "own.npz", "can't read this file")
