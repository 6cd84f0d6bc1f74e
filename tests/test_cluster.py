"""Sweeps and jobs on a cluster of a head and three workers, some of which are lost."""

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from cluster_for_tests import OPEN, RAY, machines
from processes import wait_until
from studies_for_tests import MANY, TINY, changed

from robustness import store
from robustness.plan import plan
from robustness.sweep import sweep
from search_spaces import load_study

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walks /proc")

SECRETS = {"AWS_SECRET_ACCESS_KEY": "a-key-that-nobody-sees", "WANDB_API_KEY": "another-that-nobody-sees"}
COMMAND = (sys.executable, "-m", "robustness.cli")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Three workers, more where a test loses one."""
    with machines(tmp_path_factory.mktemp("cluster"), workers=3) as found:
        found.environment |= SECRETS
        yield found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A study of several packs, and what one machine makes of it."""
    folder = tmp_path_factory.mktemp("alone")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(changed(TINY, MANY)))
    sweep(load_study(path), folder / "out")
    return path, outcomes(folder / "out", path)


def outcomes(out, path):
    """What is stored, after a look that every planned trial is there once, and nothing else is."""
    stored = pd.read_parquet(out / "trials").set_index("trial_id")
    assert sorted(stored.index) == sorted(plan(load_study(path))["trial_id"])
    assert not list(out.rglob(".*.parquet*"))
    assert not list((out / "checkpoints").glob("*"))
    return stored[["status", *store.OUTCOMES]].sort_index()


def check_same(out, alone):
    path, expected = alone
    pd.testing.assert_frame_equal(outcomes(out, path), expected, check_exact=True)


def needs_machines(cluster):
    """Skip where all share one disk, and with it what Ray unpacks for jobs."""
    if not cluster.head.network:
        pytest.skip("needs machines with networks and disks of their own")


def check_no_secrets(text, cluster):
    for secret in (*SECRETS.values(), cluster.environment["RAY_AUTH_TOKEN"]):
        assert secret not in text


def files_below(folder):
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


def test_a_machine_and_then_the_driver_are_killed_and_the_same_command_ends_with_the_same_bits(
    cluster, alone, tmp_path
):
    out = tmp_path / "out"
    arguments = (*COMMAND, "sweep", alone[0], "--address", cluster.address, "--out", out)
    process = cluster.begin(*arguments, cwd=tmp_path)
    wait_until(lambda: len(store.stored_packs(out)) > 1, process, seconds=300)
    lost = cluster.workers[0]
    lost.kill()
    stored = len(store.stored_packs(out))
    wait_until(lambda: len(store.stored_packs(out)) > stored, process, seconds=300)
    process.kill()
    process.wait()
    # A new machine, as an autoscaler or a queue of jobs would give one.
    cluster.add()
    done = cluster.run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "27 trials planned" in done.stdout
    check_same(out, alone)
    check_no_secrets(done.stdout + done.stderr + files_below(tmp_path), cluster)


def test_a_machine_that_is_told_to_go_saves_its_packs(cluster, alone, tmp_path):
    out = tmp_path / "out"
    long = tmp_path / "long.yaml"
    long.write_text(alone[0].read_text().replace("updates: 150", "updates: 1500").replace("seeds: 3", "seeds: 1"))
    arguments = (*COMMAND, "sweep", long, "--address", cluster.address, "--out", out)
    process = cluster.begin(*arguments, cwd=tmp_path)
    wait_until(lambda: store.stored_packs(out), process, seconds=300)
    node = next(node for node, address in cluster.nodes().items() if address != cluster.head.address)
    drained = cluster.run(
        RAY, "drain-node", "--address", cluster.address, "--node-id", node, "--reason",
        "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", "600", cwd=tmp_path,
    )  # fmt: skip
    assert drained.returncode == 0, drained.stderr
    # Long before the first checkpoint would be due.
    wait_until(lambda: list((out / "checkpoints").glob("*/*")), process, seconds=30)
    assert process.wait(400) == 0, (tmp_path / "stderr").read_text()
    said = (tmp_path / "stderr").read_text()
    assert "is told to go: its packs are saved and go on elsewhere" in said
    assert "worker died" not in said
    outcomes(out, long)


def test_a_job_whose_driver_is_killed_goes_on_as_another_job(cluster, alone, tmp_path):
    needs_machines(cluster)
    out = tmp_path / "out"
    arguments = (*COMMAND, "submit", alone[0], "--address", cluster.url, "--out", out)
    process = cluster.begin(*arguments, "--wait", cwd=tmp_path)
    wait_until(lambda: store.stored_packs(out), process, seconds=300)
    (driver,) = drivers(out)
    os.kill(driver, signal.SIGKILL)
    assert process.wait(120) not in (0, 2)
    done = cluster.run(*arguments, "--follow", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "27 trials planned" in done.stdout
    assert "submitted as raysubmit_" in done.stdout
    check_same(out, alone)
    jobs = cluster.run(RAY, "job", "list", cwd=tmp_path, RAY_API_SERVER_ADDRESS=cluster.url)
    assert str(out) in jobs.stdout
    check_no_secrets(done.stdout + done.stderr + jobs.stdout + files_below(tmp_path), cluster)


def drivers(out):
    """The processes of `robustness sweep` that write there, however their commands are wrapped."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "sweep" in words and str(out) in words and "python" in words[0]:
            found.append(process.pid)
    return found


def test_a_job_that_is_stopped_saves_what_runs(cluster, alone, tmp_path):
    needs_machines(cluster)
    out, long = tmp_path / "out", tmp_path / "long.yaml"
    long.write_text(alone[0].read_text().replace("updates: 150", "updates: 1500"))
    done = cluster.run(*COMMAND, "submit", long, "--address", cluster.url, "--out", out, cwd=tmp_path)
    job = re.search(r"submitted as (\w+);", done.stdout)[1]
    deadline = time.monotonic() + 300
    while not store.stored_packs(out):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    stopped = cluster.run(RAY, "job", "stop", job, cwd=tmp_path, RAY_API_SERVER_ADDRESS=cluster.url)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert list((out / "checkpoints").glob("*/*"))


def test_a_job_that_fails_has_the_exit_code_of_its_sweep(cluster, tmp_path):
    needs_machines(cluster)
    study = tmp_path / "missing.yaml"
    study.write_text(yaml.safe_dump(changed(TINY, {"data": {"npz": "none.npz"}})))
    arguments = (*COMMAND, "submit", study, "--address", cluster.url, "--out", tmp_path / "out", "--follow")
    done = cluster.run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == ""
    assert "none.npz" in done.stdout.splitlines()[-2]


@pytest.mark.parametrize("token", ["", "0" * 64])
@pytest.mark.parametrize("command", ["sweep", "submit"])
def test_without_the_token_nobody_gets_in(cluster, alone, tmp_path, command, token):
    address = cluster.address if command == "sweep" else cluster.url
    done = cluster.run(
        *COMMAND, command, alone[0], "--address", address, "--out", tmp_path / "out", cwd=tmp_path, RAY_AUTH_TOKEN=token
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"--address {address}: the cluster refuses this token, or there is")
    assert done.stderr.count("\n") == 1
    assert not store.stored_packs(tmp_path / "out")


def test_results_where_only_the_driver_sees_them_are_one_line(cluster, alone, tmp_path):
    needs_machines(cluster)
    out = f"{cluster.sessions}/out"
    done = cluster.run(*COMMAND, "sweep", alone[0], "--address", cluster.address, "--out", out, cwd=tmp_path)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(rf"{out}: 10\.77\.0\.\d does not see this folder; use one that all machines share", last)


def apart(lines, folder, *, replaced=("", ""), **variables):
    """A script in an empty home, where Ray's own ports are free, and `ray stop` ends no other cluster."""
    alone = ["unshare", "--net", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a network and processes of its own")
    script = "\n".join(["set -e", "ip link set lo up", *lines]).replace(*replaced)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_A")}
    path = f"{RAY.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [*alone, "bash", "-c", script],
        env=inherited | {"HOME": str(folder), "PATH": path} | variables,
        cwd=folder, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def test_the_guide_goes_from_an_installed_project_to_a_job(alone, tmp_path):
    text = (Path(__file__).parent.parent / "docs" / "cluster.md").read_text()
    clone, install, *rest = re.search(r"## From nothing to a job.*?```sh\n(.*?)```", text, re.DOTALL)[1].splitlines()
    assert "git clone" in clone
    assert "pip install -e '.[cluster]'" in install
    assert 2 + len(rest) <= 6
    study = shlex.quote(str(alone[0]))
    done = apart([*rest, "ray stop"], tmp_path, replaced=("submit quickstart", f"submit {study}"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "27 trials planned, 27 trained now" in done.stdout
    check_same(tmp_path / "results" / "quickstart", alone)
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600


def test_a_cluster_that_asks_for_no_token_is_used_only_by_those_who_accept_that(alone, tmp_path):
    with machines(tmp_path, workers=1, environment=OPEN) as cluster:
        for command, address in (("sweep", cluster.address), ("submit", cluster.url)):
            arguments = (*COMMAND, command, alone[0], "--address", address, "--out", tmp_path / command)
            done = cluster.run(*arguments, cwd=tmp_path)
            assert done.returncode == 2
            assert f"--address {address}: the cluster asks for no token" in done.stderr
            assert "--insecure" in done.stderr
        arguments = (*COMMAND, "sweep", alone[0], "--address", cluster.address, "--out", tmp_path / "out")
        done = cluster.run(*arguments, "--insecure", "--limit", "1", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(store.stored_packs(tmp_path / "out")) == 1


def test_an_autoscaler_gets_machines_for_packs_that_wait(alone, tmp_path):
    study, expected = alone
    kind = {"node_config": {}, "resources": {"CPU": 0}, "max_workers": 0}
    config = {
        "cluster_name": "fake", "provider": {"type": "fake_multinode"}, "auth": {}, "head_node_type": "head",
        "max_workers": 2, "upscaling_speed": 1, "idle_timeout_minutes": 1,
        "available_node_types": {"head": kind, "worker": kind | {"resources": {"CPU": 1}, "max_workers": 2}},
        "file_mounts": {}, "file_mounts_sync_continuously": False, "cluster_synced_files": [],
        "rsync_exclude": [], "rsync_filter": [], "initialization_commands": [], "setup_commands": [],
        "head_setup_commands": [], "worker_setup_commands": [], "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }  # fmt: skip
    (tmp_path / "cluster.json").write_text(json.dumps(config))
    lines = [
        f"ray start --head --num-cpus=0 --autoscaling-config={tmp_path / 'cluster.json'} --disable-usage-stats",
        f"timeout 300 robustness sweep {shlex.quote(str(study))} --address auto --out {tmp_path / 'out'}",
        "ray stop",
    ]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    done = apart(lines, tmp_path, RAY_FAKE_CLUSTER="1", AUTOSCALER_UPDATE_INTERVAL_S="1", **token)
    assert done.returncode == 0, done.stdout + done.stderr
    pd.testing.assert_frame_equal(outcomes(tmp_path / "out", study), expected, check_exact=True)
