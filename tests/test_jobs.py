"""What `submit` and `sweep --address` refuse before they talk to a cluster, and who fits on which machine."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import command_fixture  # noqa: F401

from robustness.sweep.cluster import _fits
from robustness.sweep.submission import Jobs, Submission, resources_of, runtime_env_of
from search_spaces import StudyError, load_study, shipped_studies


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--out", "results/mine"],
            "--out: expected a URI, or an absolute path that all machines",
        ),
        (["--address", "10.0.0.1:6379"], "--address 10.0.0.1:6379: expected the address of a cluster's dashboard"),
        (["--address", "ftp://127.0.0.1"], "expected the address of a cluster's dashboard"),
        (["--address", "http://10.0.0.1:8265"], "http sends the token unencrypted to another machine"),
        (["--address", "http://me:secret@127.0.0.1:8265"], "--address: an address holds no credentials"),
        (["--address", "http://127.0.0.1:9"], "--address http://127.0.0.1:9: nothing answers there"),
        (["--driver-resources", "driver"], "--driver-resources: expected JSON such as"),
        (["--driver-resources", '{"driver": 0}'], "--driver-resources: expected JSON such as"),
        (["--driver-resources", '{"driver": true}'], "--driver-resources: expected JSON such as"),
        (["--runtime-env", "none.yaml"], "--runtime-env none.yaml: "),
        (["--driver-cpus", "-1"], "--driver-cpus"),
    ],
)
def test_submit_refuses_in_one_line(command, arguments, line):
    defaults = {"--address": "http://127.0.0.1:9", "--out": "/tmp/out"}
    given = defaults | dict([arguments])
    done = command("submit", "quickstart", *(word for pair in given.items() for word in pair))
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret@" not in done.stderr


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("http://127.0.0.1:8265", "expected auto or HOST:PORT; use `robustness submit`"),
        ("ray://127.0.0.1:10001", "expected auto or HOST:PORT; give its head's HOST:PORT"),
        ("127.0.0.1:9", "nothing listens at"),
        ("localhost", "--address localhost: "),
        ("127.0.0.1:99999", "--address 127.0.0.1:99999: "),
    ],
)
def test_sweep_refuses_addresses_in_one_line(command, address, line):
    done = command("sweep", "quickstart", "--address", address, "--out", "out")
    assert done.returncode == 2
    assert line in done.stderr.splitlines()[-1]
    assert done.stderr.count("\n") == 1


def test_insecure_is_about_a_cluster(command):
    done = command("sweep", "quickstart", "--insecure")
    assert done.returncode == 2
    assert "--insecure: expected --address beside it" in done.stderr


def test_something_else_than_a_cluster_is_one_line(command):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        threading.Thread(target=lambda: silent.accept()[0].close(), daemon=True).start()
        done = command("submit", "quickstart", "--address", f"http://127.0.0.1:{port}", "--out", "/tmp/out")
    assert done.returncode == 2
    assert "nothing answers there" in done.stderr


class Guarded(BaseHTTPRequestHandler):
    """Answers like a dashboard that asks for a token, and notes what it is told."""

    told: ClassVar[list[str]] = []

    def do_GET(self):
        self.told.append(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.end_headers()

    def log_message(self, *arguments):
        """Say nothing."""


def test_whether_a_cluster_is_guarded_is_asked_without_the_token(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    Guarded.told.clear()
    server = HTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(StudyError, match="the cluster refuses this token"):
        Jobs(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    assert Guarded.told[0] == ""


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "RAY_AUTH_TOKEN", "db_password"])
def test_a_secret_in_the_environment_of_a_job_is_refused(tmp_path, name):
    path = tmp_path / "env.yaml"
    path.write_text(json.dumps({"env_vars": {"NCCL_DEBUG": "INFO", name: "hidden"}}))
    with pytest.raises(StudyError, match=name) as error:
        Submission("quickstart", "s3://bucket/out", runtime_env=runtime_env_of(path))
    assert "hidden" not in str(error.value)


def test_other_variables_are_not(tmp_path):
    path = tmp_path / "env.yaml"
    path.write_text("env_vars: {NCCL_DEBUG: INFO, OMP_NUM_THREADS: '1', KEYBOARD: us}\npip: [s3fs]\n")
    assert Submission("quickstart", "/shared/out", runtime_env=runtime_env_of(path)).runtime_env["pip"] == ["s3fs"]
    path.write_text("[pip]")
    with pytest.raises(StudyError, match="expected a mapping"):
        runtime_env_of(path)
    path.write_text("working_dir: .")
    with pytest.raises(StudyError, match="use --working-dir"):
        runtime_env_of(path)


class Client:
    """Takes jobs and notes what they hold."""

    def submit_job(self, *, runtime_env, **options):
        folder = runtime_env.get("working_dir")
        self.files = (
            {} if folder is None else {path.name: path.read_text() for path in Path(folder).iterdir() if path.is_file()}
        )
        self.runtime_env, self.options = runtime_env, options
        return "raysubmit_1"


@given(
    st.integers(0, 64), st.integers(0, 16), st.sampled_from([1, 2, 0.5, 4]), st.sampled_from([0, 1, 2, 0.5, 0.3, 0.25])
)
def test_a_worker_is_on_one_machine_and_a_share_of_one_gpu(cpus, gpus, per_cpu, per_gpu):
    count = _fits({"CPU": float(cpus), "GPU": float(gpus)}, {"CPU": per_cpu, "GPU": per_gpu})
    assert count * per_cpu <= cpus + 1e-6
    by_gpus = slow_count(gpus, per_gpu) if per_gpu else count
    assert count == min(int(cpus / per_cpu), by_gpus)


def slow_count(gpus, share):
    """Put workers on GPUs one by one."""
    if share >= 1:
        return gpus // int(share)
    count = 0
    for _ in range(gpus):
        room = 1.0
        while room >= share - 1e-9:
            room, count = room - share, count + 1
    return count


def test_machines_without_a_gpu_hold_no_worker_that_wants_one():
    assert _fits({"CPU": 8.0}, {"CPU": 1, "GPU": 0.5}) == 0
    assert resources_of('{"driver": 1}') == {"driver": 1}
    assert load_study("quickstart").resources.gpus_per_pack == 0


def submitted(study, **options):
    """What the cluster is sent for a study."""
    jobs = object.__new__(Jobs)
    jobs.address, jobs.client = "http://127.0.0.1:8265", Client()
    assert jobs.submit(load_study(study), Submission(study, "/shared/my out", **options)) == "raysubmit_1"
    return jobs.client


def test_a_job_gets_the_study_and_nothing_else(tmp_path):
    (tmp_path / "mine.yaml").write_text(shipped_studies()["quickstart"])
    (tmp_path / "private").write_text("not to be sent")
    sent = submitted(str(tmp_path / "mine.yaml"), options=["--limit", "3"])
    assert list(sent.files) == ["mine.yaml"]
    command = "robustness sweep mine.yaml --address auto --out '/shared/my out' --limit 3"
    assert sent.options["entrypoint"] == command
    assert sent.options["entrypoint_num_cpus"] == 1
    assert set(sent.runtime_env["env_vars"]) == {"RAY_USAGE_STATS_ENABLED", "RAY_JOB_STOP_WAIT_TIME_S"}


def test_a_folder_goes_along_where_it_is_asked_for(tmp_path):
    (tmp_path / "studies").mkdir()
    study = tmp_path / "studies" / "mine.yaml"
    study.write_text(shipped_studies()["quickstart"])
    (tmp_path / "images.npz").write_text("images")
    sent = submitted(str(study), working_dir=tmp_path)
    assert sent.options["entrypoint"].startswith("robustness sweep studies/mine.yaml --address auto")
    assert sent.runtime_env["working_dir"] == str(tmp_path)
    with pytest.raises(StudyError, match="expected a folder that holds"):
        submitted(str(study), working_dir=tmp_path / "elsewhere")
    assert "working_dir" not in submitted("quickstart").runtime_env
