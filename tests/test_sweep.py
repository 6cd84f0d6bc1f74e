import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch
import yaml
from processes import descendants, kill_tree, robustness, start, wait_until
from studies_for_tests import TINY, changed, tiny

from robustness import store
from robustness.plan import plan
from robustness.sweep.rows import history_rows, trial_rows
from robustness.training import Checkpoints, train_pack
from robustness.trial import PROTOCOL_VERSION, Trial, TrialResult
from search_spaces import load_study

CPU = torch.device("cpu")
linux = pytest.mark.skipif(sys.platform != "linux", reason="walks /proc")


def study_file(folder, **changes):
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(changed(TINY, {k.replace("__", "."): v for k, v in changes.items()})))
    return path


def outcomes(folder):
    frame = store.read(folder).set_index("trial_id").sort_index()
    return frame[["status", *store.OUTCOMES]]


def half_done(folder, *, packs):
    """A study and its sweep, still running, with at least so many packs stored."""
    path = study_file(folder, **LONGER)
    process = start("sweep", path, "--out", "out", cwd=folder)
    wait_until(lambda: len(store.stored_packs(folder / "out")) >= packs, process, seconds=240)
    return path, process


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """One study, swept once without interruption, with a diverging configuration."""
    folder = tmp_path_factory.mktemp("swept")
    path = study_file(folder, **LONGER)
    return folder, path, robustness("run", path, "--out", "out", cwd=folder)


LONGER = {
    "training": {"epochs": 2, "momentum": 0},
    "evaluation": {"every": 1},
    "pack": {"size": 2},
    "families__dhel": {"temperature": 0.5, "learning_rate": {"values": [0.1, 1e30]}},
}


def test_every_planned_trial_is_stored_once_and_the_diverged_ones_are_rows(swept):
    folder, path, done = swept
    frame = pd.read_parquet(folder / "out" / "trials")
    assert sorted(frame["trial_id"]) == sorted(plan(load_study(path))["trial_id"])
    failed = frame[frame["status"] != "ok"]
    assert set(failed["learning_rate"]) == {1e30}
    assert set(failed["status"]) == {"diverged"}
    assert failed[list(store.OUTCOMES)].isna().all(axis=None)
    assert failed["error"].str.contains("not finite").all()
    assert len(failed) == 4
    assert frame.loc[frame["status"] == "ok", "linear_top1"].between(0.1, 1).all()
    assert done.returncode == 1
    assert "18 trials planned, 18 trained now" in done.stdout
    assert "4 failed, 0 left" in done.stdout
    assert "Traceback" not in done.stderr


def test_run_writes_a_report_that_counts_what_failed_and_says_where_it_is(swept):
    folder, _, done = swept
    assert "report: out/report/index.html" in done.stdout
    page = (folder / "out" / "report" / "index.html").read_text()
    assert "4 of 16 trials failed" in page


def test_what_the_sweep_stored_is_what_the_pack_gives(swept):
    folder, path, _ = swept
    rows = plan(load_study(path))
    pack = rows[rows["pack_id"] == rows.loc[rows["family"] == "nt_xent", "pack_id"].iloc[0]]
    here = train_pack([Trial.from_json(text) for text in pack["trial"]], every=1)
    stored = outcomes(folder / "out")
    for trial_id, result in zip(pack["trial_id"], here, strict=True):
        for name in ("linear_top1", "knn_top1", "final_loss", "z_effective_rank"):
            assert stored.loc[trial_id, name] == result.outcomes[name]


def test_history_has_a_row_per_evaluated_epoch(swept):
    folder, _, _ = swept
    history = store.read_history(folder / "out")
    trained = history[history["family"] == "nt_xent"]
    assert set(trained["epoch"]) == {1.0, 2.0}
    assert len(trained) == 16


def test_the_same_command_again_trains_nothing(swept):
    folder, path, _ = swept
    before = {p: p.stat().st_mtime_ns for p in (folder / "out").rglob("*.parquet")}
    again = robustness("run", path, "--out", "out", cwd=folder)
    assert "0 trained now" in again.stdout
    assert "report: out/report/index.html, written before and still right" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in (folder / "out").rglob("*.parquet")} == before


@linux
def test_added_seeds_and_families_train_only_what_is_new_and_a_dropped_level_is_refused(swept, tmp_path):
    folder = shutil.copytree(swept[0], tmp_path / "copy")
    files = {p.name: p.read_bytes() for p in (folder / "out" / "trials").iterdir()}
    more = study_file(tmp_path, **LONGER | {"seeds": 3, "families__kcl_log": {"bandwidth": 2}})
    done = robustness("sweep", more, "--out", folder / "out", cwd=tmp_path)
    assert "33 trials planned, 15 trained now" in done.stdout, done.stderr
    assert all((folder / "out" / "trials" / name).read_bytes() == content for name, content in files.items())
    less = study_file(tmp_path, **LONGER | {"axes__batch_size": {"values": [64]}})
    refused = robustness("sweep", less, "--out", folder / "out", cwd=tmp_path)
    assert refused.returncode == 2
    assert "axes.batch_size" in refused.stderr
    assert refused.stderr.count("\n") == 1


@linux
def test_a_killed_worker_is_replaced_and_every_trial_is_stored(swept, tmp_path):
    folder, _, _ = swept
    _, process = half_done(tmp_path, packs=1)
    workers_of(process)[0].kill()
    assert process.wait(240) == 1
    pd.testing.assert_frame_equal(outcomes(tmp_path / "out"), outcomes(folder / "out"), check_exact=True)


ONE_PACK = {
    "seeds": 1,
    "axes__batch_size": {"values": [16]},
    "training": {"epochs": 30},
    "evaluation": {"probes": ["knn"], "every": 10},
    "analysis": {"outcome": "knn_top1"},
    "resources": {"checkpoint_minutes": 0.001},
    "families__untrained": None,
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    path = study_file(folder, **ONE_PACK | {"resources": {"checkpoint_minutes": 60}})
    assert robustness("sweep", path, "--out", "out", cwd=folder).returncode == 0
    return folder / "out"


@pytest.mark.parametrize("whom", ["the worker", "everything"])
@linux
def test_a_pack_that_was_killed_goes_on_from_its_checkpoint_with_the_same_bits(undisturbed, tmp_path, whom):
    path = study_file(tmp_path, **ONE_PACK)
    process = start("sweep", path, "--out", "out", cwd=tmp_path)
    (pack,) = set(plan(load_study(path))["pack_id"])
    keep = Checkpoints(tmp_path / "out" / "checkpoints" / pack, seconds=0)
    wait_until(lambda: half_trained(keep), process, seconds=120)
    if whom == "the worker":
        workers_of(process)[0].kill()
        assert process.wait(240) == 0
    else:
        kill_tree(process)
        assert not store.stored_packs(tmp_path / "out")
        done = robustness("sweep", path, "--out", "out", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(outcomes(tmp_path / "out"), outcomes(undisturbed), check_exact=True)
    assert not list((tmp_path / "out").rglob("*checkpoint*/*"))


def half_trained(keep):
    state = keep.load(CPU) if keep.path.exists() else None
    return state is not None and state["begun"]["lockstep"]["updates"] > 15 * 64


def workers_of(process):
    return [one for one in descendants(process.pid) if "ImplicitFunc" in "".join(one.cmdline())]


def test_a_process_sweeps_twice_without_a_token_of_its_own(tmp_path):
    path = study_file(tmp_path, training={"updates": 1}, seeds=1, **{"families__untrained": None})
    script = (
        "from pathlib import Path; from robustness.sweep import sweep; from search_spaces import load_study\n"
        f"print([sweep(load_study({str(path)!r}), Path(name)).left for name in 'ab'])"
    )
    env = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.strip().endswith("[0, 0]"), done.stderr


def test_rows_hold_the_plan_the_result_and_the_versions():
    planned = plan(tiny()).head(1).to_dict("records")
    epochs = ({"epoch": 1.0, "updates": 5, "knn_top1": 0.5},)
    result = TrialResult("ok", None, 1.0, 5, 320, {"linear_top1": 0.5}, {"threads": 1}, epochs)
    (row,) = trial_rows(planned, [result])
    assert (row["family"], row["linear_top1"], row["updates"], row["threads"]) == ("nt_xent", 0.5, 5, 1)
    assert row["code_version"]
    assert row["protocol_version"] == PROTOCOL_VERSION
    (epoch,) = history_rows(planned, [result])
    assert (epoch["epoch"], epoch["images"], epoch["knn_top1"]) == (1.0, 320, 0.5)
