"""Sweeps on machines that fail: every planned trial is stored exactly once, and nothing is lost."""

import os
import shutil
import signal
import sys
from contextlib import suppress

import pandas as pd
import pytest
import yaml
from processes import descendants, gone, kill_tree, robustness, start, wait_until
from ray.cluster_utils import Cluster
from studies_for_tests import MANY, TINY, changed

from robustness import store
from robustness.plan import plan
from robustness.training import Checkpoints, Interrupted, train_pack
from robustness.trial import Trial
from search_spaces import load_study, parse_study
from search_spaces.installed import announced

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walks /proc")

SPACE = """
from search_spaces import Continuous, Hyperparameter, Space
FAULT = Hyperparameter(Continuous(1.0, 8.0, "log2"), 1.0, "what goes wrong", "these tests", above=0.0)
SPACE = Space("a loss of which some values break things", {"fault": FAULT})
"""
LOSS = """
import ctypes, os, signal
from pathlib import Path
import torch

HERE, calls = Path(__file__).parent, 0

def no_room(file):
    raise OSError(28, "No space left on device")

def loss(u, v, *, fault):
    global calls
    calls += 1
    fault = torch.as_tensor(fault)
    if (fault == 2).any():
        os.kill(os.getpid(), signal.SIGKILL)
    if (fault == 4).any():
        ctypes.PyDLL(None).sleep(1000)  # holds Python's lock
    if (HERE / "broken").exists():
        raise RuntimeError("broken today")
    if (HERE / "full").exists():
        os.fsync = no_room
    if calls == 30:
        (HERE / "busy").touch()
    return (u - v).square().sum(-1).mean(-1) * (1 + 0 * fault)
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A package with a loss of which some values kill, hang or break their process."""
    site = tmp_path_factory.mktemp("site")
    info = site / "faulty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    entries = "[robustness.losses]\nfaulty = faulty_loss:loss\n[robustness.spaces]\nfaulty = faulty_space:SPACE\n"
    (info / "entry_points.txt").write_text(entries)
    (site / "faulty_space.py").write_text(SPACE)
    (site / "faulty_loss.py").write_text(LOSS)
    before = os.environ.get("PYTHONPATH")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{site}{os.pathsep}{before}" if before else str(site))
        patch.syspath_prepend(site)
        # Another test file may have asked before.
        announced.cache_clear()
        yield site
    announced.cache_clear()


FAST = {
    "training": {"updates": 2},
    "evaluation": {"probes": ["knn"]},
    "analysis": {"outcome": "knn_top1"},
    "axes": {"batch_size": {"values": [64]}},
    "pack": {"fuse": "never"},
}


def study_file(folder, **changes):
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(changed(TINY, {key.replace("__", "."): value for key, value in changes.items()})))
    return path


def checked(out, path):
    """What is stored, after a look that every planned trial is there once, and nothing else is."""
    stored = pd.read_parquet(out / "trials").set_index("trial_id")
    assert sorted(stored.index) == sorted(plan(load_study(path))["trial_id"])
    assert not list(out.rglob(".*.parquet*"))
    assert not list((out / "checkpoints").glob("*"))
    return stored


def outcomes(frame):
    return frame[["status", *store.OUTCOMES]].sort_index()


def test_a_trial_that_kills_and_one_that_hangs_are_rows_and_the_others_have_their_results(faulty, tmp_path):
    families = {"nt_xent": {"temperature": 0.5}, "faulty": {"fault": {"values": [1, 2, 4]}}, "untrained": "default"}
    path = study_file(tmp_path, **FAST, families=families, seeds=1, resources={"trial_timeout": 12})
    done = robustness("sweep", path, "--out", "out", cwd=tmp_path)
    stored = checked(tmp_path / "out", path).reset_index().set_index(["family", "trial_id"])
    assert done.returncode == 1, done.stderr
    assert "5 trials planned, 5 trained now" in done.stdout
    faults = plan(load_study(path)).set_index("trial_id")["extra_hyperparameters"]
    statuses = {faults[trial]: row["status"] for (_, trial), row in stored.loc[["faulty"]].iterrows()}
    assert statuses == {'{"fault":1}': "ok", '{"fault":2}': "error", '{"fault":4}': "timeout"}
    reasons = dict(zip(stored["status"], stored["error"], strict=True))
    assert reasons["error"].startswith("ended its worker, even alone: its process was killed or crashed")
    assert reasons["timeout"] == "ran longer than the 12 seconds of resources.trial_timeout"
    assert stored[stored["status"] == "ok"]["knn_top1"].between(0.1, 1).all()
    assert stored[stored["status"] != "ok"][list(store.OUTCOMES)].isna().all(axis=None)
    assert "Traceback" not in done.stderr


def test_a_full_disk_ends_the_sweep_with_a_line_and_failed_trials_run_again_alone(faulty, tmp_path):
    path = study_file(tmp_path, **FAST, families__faulty={}, families__dhel=None)
    arguments = ("sweep", path, "--out", "out")
    (faulty / "full").touch()
    done = robustness(*arguments, cwd=tmp_path)
    (faulty / "full").unlink()
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("can't store results: ")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert store.stored_packs(tmp_path / "out") <= set(untrained(path)["pack_id"])
    assert not list((tmp_path / "out").rglob(".*"))

    (faulty / "broken").touch()
    done = robustness(*arguments, cwd=tmp_path)
    (faulty / "broken").unlink()
    assert done.returncode == 1
    assert "2 failed, 0 left" in done.stdout
    broken = checked(tmp_path / "out", path)
    assert set(broken.loc[broken["family"] == "faulty", "error"]) == {"RuntimeError: broken today"}

    done = robustness(*arguments, "--retry-failed", "--limit", "1", cwd=tmp_path)
    assert "8 trials planned, 1 trained now" in done.stdout, done.stderr
    assert "1 failed, 0 left" in done.stdout
    done = robustness(*arguments, "--retry-failed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = checked(tmp_path / "out", path)
    assert set(again["status"]) == {"ok"}
    others = broken.index[broken["family"] != "faulty"]
    pd.testing.assert_frame_equal(again.loc[others], broken.loc[others], check_exact=True)


def untrained(path):
    planned = plan(load_study(path))
    return planned[planned["family"] == "untrained"]


LONG = {
    "training": {"updates": 600},
    "evaluation": {"probes": ["knn"]},
    "analysis": {"outcome": "knn_top1"},
    "axes": {"batch_size": {"values": [16]}},
    "seeds": 1,
    "families": {"faulty": {}, "nt_xent": {"temperature": {"values": [0.1, 0.5]}}},
    "pack": {"fuse": "never"},
}


# A terminal signals the whole process group.
@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGINT]])
def test_an_interrupted_sweep_saves_where_it_is_and_ends_with_the_same_bits(faulty, tmp_path, signals):
    path = study_file(tmp_path, **LONG)
    (faulty / "busy").unlink(missing_ok=True)
    process = start("sweep", path, "--out", "out", cwd=tmp_path)
    wait_until((faulty / "busy").exists, process, seconds=500)
    tree = descendants(process.pid)
    for number in signals:
        os.killpg(process.pid, number)
    assert process.wait(60) == 130
    gone(tree)
    said = (tmp_path / "stderr").read_text()
    assert said.endswith("interrupted; what was stored stays, the same command continues\n")
    assert "Traceback" not in said
    planned = plan(load_study(path))
    (pack,) = set(planned["pack_id"])
    state = Checkpoints(tmp_path / "out" / "checkpoints" / pack, seconds=0).load("cpu")
    if len(signals) > 1:
        assert not list((tmp_path / "out").rglob(".*"))
        return
    assert 0 < state["begun"]["lockstep"]["updates"] < 600
    assert robustness("sweep", path, "--out", "out", cwd=tmp_path).returncode == 0
    stored = outcomes(checked(tmp_path / "out", path))
    undisturbed = train_pack([Trial.from_json(text) for text in planned["trial"]], fuse="never")
    for trial_id, result in zip(planned["trial_id"], undisturbed, strict=True):
        for name in ("knn_top1", "final_loss", "z_effective_rank"):
            assert stored.loc[trial_id, name] == result.outcomes[name]


@pytest.mark.parametrize("fuse", ["always", "never"])
def test_a_pack_goes_on_bit_by_bit_wherever_it_is_interrupted(tmp_path, fuse):
    families = {"nt_xent": {"temperature": {"values": [0.1, 0.5]}}, "dhel": {"temperature": 0.5}}
    changes = {**FAST, "training": {"epochs": 2}, "axes": {"batch_size": {"values": [256]}}}
    planned = plan(parse_study(changed(TINY, changes | {"families": families, "seeds": 1}), "tiny.yaml"))
    trials = [Trial.from_json(text) for text in planned["trial"]]
    keep, starts = Checkpoints(tmp_path / "pack", seconds=3600), []

    def interrupt(share):
        raise Interrupted

    def note(share, seconds):
        starts.append((share, seconds))

    undisturbed, results = train_pack(trials, every=1, fuse=fuse), None
    while results is None:
        with suppress(Interrupted):
            results = train_pack(trials, every=1, fuse=fuse, checkpoints=keep, on_start=note, on_progress=interrupt)
    shares, seconds = zip(*starts, strict=True)
    assert starts[0] == (0, 0)
    assert sorted(shares) == list(shares)
    assert sorted(seconds) == list(seconds)
    # Two epochs of four updates, and three members that are measured after each.
    assert set(shares) == {updates / 8 for updates in range(9)}
    assert len(shares) == 1 + 2 * (3 + 3)
    for one, other in zip(results, undisturbed, strict=True):
        assert (one.status, one.updates) == ("ok", 8)
        assert repr(one.outcomes) == repr(other.outcomes)
        assert [row["knn_top1"] for row in one.history] == [row["knn_top1"] for row in other.history]
        assert len(one.history) == 2


def test_a_trial_that_is_pruned_is_stopped_and_keeps_its_history():
    changes = {**FAST, "training": {"epochs": 3}, "axes": {"batch_size": {"values": [256]}}, "seeds": 1}
    planned = plan(parse_study(changed(TINY, changes | {"families.untrained": None}), "tiny.yaml"))
    trials = [Trial.from_json(text) for text in planned["trial"]]

    def prune(trial, epoch):
        return "poor" if trial.loss == "dhel" and epoch["epoch"] == 2 else None

    results, alone = train_pack(trials, every=1, prune=prune), train_pack(trials, every=1)
    for trial, result, other in zip(trials, results, alone, strict=True):
        if trial.loss == "dhel":
            assert (result.status, result.error, result.epochs, result.outcomes) == ("stopped", "poor", 2, {})
            assert len(result.history) == 2
        else:
            assert repr(result.outcomes) == repr(other.outcomes)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A study of several packs, swept by two drivers at once."""
    folder = tmp_path_factory.mktemp("many")
    path = study_file(folder, **MANY)
    drivers = [start("sweep", path, "--out", "out", cwd=folder) for _ in range(2)]
    return folder, path, [driver.wait(500) for driver in drivers]


def test_two_drivers_on_one_folder_both_finish_and_double_nothing(many):
    folder, path, codes = many
    assert codes == [0, 0]
    assert set(checked(folder / "out", path)["status"]) == {"ok"}


def test_damaged_files_are_set_aside_and_their_packs_run_again(many, tmp_path):
    folder, path, _ = many
    out = shutil.copytree(folder / "out", tmp_path / "out")
    before = outcomes(checked(out, path))
    truncated, empty, *kept = sorted((out / "trials").glob("*.parquet"))
    truncated.write_bytes(truncated.read_bytes()[:-100])
    empty.write_bytes(b"")
    unchanged = {file: file.read_bytes() for file in kept}
    done = robustness("sweep", path, "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(outcomes(checked(out, path)), before, check_exact=True)
    assert all(file.read_bytes() == content for file, content in unchanged.items())
    assert all(file.name in done.stderr for file in (truncated, empty))


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path):
    path = study_file(tmp_path, **MANY)
    (tmp_path / "file").touch()
    done = robustness("sweep", path, "--out", "file/out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "file/out" in done.stderr


@pytest.mark.parametrize("victim", ["the driver", "the queue of packs"])
def test_a_sweep_whose_head_is_killed_leaves_no_process_and_loses_nothing(many, tmp_path, victim):
    folder, path, _ = many
    process = start("sweep", path, "--out", "out", cwd=tmp_path)
    wait_until(lambda: store.stored_packs(tmp_path / "out"), process, seconds=500)
    tree = descendants(process.pid)
    if victim == "the driver":
        process.kill()
        process.wait()
    else:
        next(one for one in tree if "PackQueue" in "".join(one.cmdline())).kill()
        assert process.wait(60) == 2
        said = (tmp_path / "stderr").read_text()
        assert "Traceback" not in said
        assert "Ray lost the queue of packs" in said.splitlines()[-1]
    gone(tree)
    done = robustness("sweep", path, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = outcomes(checked(folder / "out", path))
    pd.testing.assert_frame_equal(outcomes(checked(tmp_path / "out", path)), expected, check_exact=True)


def test_a_node_that_is_lost_in_mid_sweep_loses_nothing(many, tmp_path):
    folder, path, _ = many
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        process = start("sweep", path, "--out", "out", "--address", cluster.address, cwd=tmp_path)
        try:
            wait_until(lambda: len(store.stored_packs(tmp_path / "out")) > 1, process, seconds=500)
            cluster.remove_node(node, allow_graceful=False)
            assert process.wait(500) == 0, (tmp_path / "stderr").read_text()
        finally:
            kill_tree(process)
    finally:
        cluster.shutdown()
    expected = outcomes(checked(folder / "out", path))
    pd.testing.assert_frame_equal(outcomes(checked(tmp_path / "out", path)), expected, check_exact=True)
