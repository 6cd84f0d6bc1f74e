"""The files of `deploy/`: against the schemas of what reads them, and beside programs that stand for SLURM's."""

import gzip
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import jsonschema
import pytest
import ray
import typer
import yaml
from ray._private.ray_constants import RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S

from robustness.cli.application import app

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
RAYJOB_SCHEMA = Path(os.environ.get("RAYJOB_SCHEMA", ROOT.parent / "shared" / "schemas" / "rayjob_v1.json.gz"))
LAUNCHER_SCHEMA = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
BASH = shutil.which("bash")


def document(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def strict(schema):
    """The same, but fields that it doesn't name are errors: Kubernetes drops them without a word."""
    if isinstance(schema, dict):
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        schema = {name: strict(part) for name, part in schema.items()}
        if "properties" in schema and not open_ended:
            schema["additionalProperties"] = False
        if schema.pop("x-kubernetes-int-or-string", False):
            return {"type": ["integer", "string"]}
        return schema
    return [strict(part) for part in schema] if isinstance(schema, list) else schema


def rayjob_errors(job):
    schema = strict(json.loads(gzip.decompress(RAYJOB_SCHEMA.read_bytes())))
    schema["properties"] |= {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": "RayJob"}}
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(job)]


@pytest.mark.skipif(not RAYJOB_SCHEMA.exists(), reason="KubeRay's schema is not here")
def test_the_ray_job_is_what_kuberay_reads_and_a_slip_is_seen():
    job = document("rayjob.yaml")
    assert rayjob_errors(job) == []
    gpu = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][1]
    gpu["maxReplica"] = gpu.pop("maxReplicas")
    gpu["template"]["spec"]["toleration"] = []
    job["spec"]["rayClusterSpec"]["authOptions"]["mode"] = "tokens"
    assert len(rayjob_errors(job)) == 4


def ends_well(group):
    """What is wrong with a group of workers that may be taken away."""
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    shared = {volume["name"] for volume in pod["volumes"] if volume["emptyDir"]["medium"] == "Memory"}
    mounted = {mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm"}
    rules = {
        "waits for checkpoints": pod["terminationGracePeriodSeconds"] > RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S + 10,
        "may be on spot machines": any("spot" in toleration["key"] for toleration in pod["tolerations"]),
        "chooses its GPU": bool(pod["nodeSelector"]),
        "costs nothing while idle": group["minReplicas"] == group["replicas"] == 0,
        "has room for images": mounted == shared != set(),
        "has no keys": "env" not in container and pod["serviceAccountName"] == "sweep",
    }
    return {name for name, kept in rules.items() if not kept}


def test_gpu_workers_may_be_taken_away_and_the_driver_and_head_stay():
    cluster = document("rayjob.yaml")["spec"]["rayClusterSpec"]
    driver, *gpus = cluster["workerGroupSpecs"]
    assert len(gpus) == 2
    assert [ends_well(group) for group in gpus] == [set(), set()]
    for group in (cluster["headGroupSpec"], driver):
        spot = group["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ((term,),) = [term["matchExpressions"] for term in spot["nodeSelectorTerms"]]
        assert "spot" in term["key"]
        assert term["operator"] == "DoesNotExist"
        assert "tolerations" not in group["template"]["spec"]
    # As Kubernetes would have it unless told.
    gpus[0]["template"]["spec"]["terminationGracePeriodSeconds"] = 30
    assert ends_well(gpus[0]) == {"waits for checkpoints"}


def test_the_ray_job_has_a_token_and_a_head_without_trials():
    cluster = document("rayjob.yaml")["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["rayVersion"] == re.search(r"rayproject/ray:([\d.]+)-", (DEPLOY / "Dockerfile").read_text())[1]
    wanted = json.loads(document("rayjob.yaml")["spec"]["entrypointResources"])
    (driver,) = [group for group in cluster["workerGroupSpecs"] if group["groupName"] == "driver"]
    assert json.loads(json.loads(driver["rayStartParams"]["resources"])) == wanted
    assert driver["minReplicas"] == 1


def test_the_launcher_file_is_what_ray_reads_and_a_slip_is_seen():
    validator = jsonschema.Draft7Validator(json.loads(LAUNCHER_SCHEMA.read_text()))
    cluster = document("cluster.yaml")
    assert list(validator.iter_errors(cluster)) == []
    assert cluster["head_node_type"] in cluster["available_node_types"]
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token ray start" in commands[-1]
    # Ray gives the head a role of its own, which may not start machines that have one; other machines get none.
    profiles = {
        name: kind["node_config"]["IamInstanceProfile"] for name, kind in cluster["available_node_types"].items()
    }
    assert profiles["driver"] == profiles["gpu"] != profiles["head"]
    cluster["max_worker"] = cluster.pop("max_workers")
    assert len(list(validator.iter_errors(cluster))) == 1


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_no_file_opens_a_dashboard_or_holds_a_secret(path):
    text = path.read_text()
    assert "0.0.0.0" not in text
    assert "--insecure" not in text
    assert not re.search(r"(AKIA|ASIA)[A-Z0-9]{16}|[0-9a-f]{64}|(SECRET|PASSWORD)[A-Z_]*[=:]", text)


def test_commands_have_the_options_that_they_use():
    known = typer.main.get_command(app).commands
    found = 0
    for path in sorted(DEPLOY.iterdir()):
        for line in re.findall(r"robustness ((?:sweep|submit|run) [^`#]*)", path.read_text()):
            name, *words = shlex.split(line)
            options = {option for parameter in known[name].params for option in parameter.opts}
            used = {word for word in words if word.startswith("--")}
            assert used <= options, f"{path.name}: {used - options}"
            found += 1
    assert found >= 4


def test_the_image_installs_what_the_project_offers():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = re.findall(r"robustness\[([\w,]+)\]", (DEPLOY / "Dockerfile").read_text())
    assert set(asked.split(",")) <= extras.keys()
    for source in re.findall(r"COPY --chown=\S+ (.+) \S+\n", (DEPLOY / "Dockerfile").read_text()):
        assert all((ROOT / name).exists() for name in source.split())
    assert "\nUSER root" not in (DEPLOY / "Dockerfile").read_text()


def test_shellcheck_has_nothing_to_say():
    program = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no shellcheck")
    done = subprocess.run([program, *DEPLOY.glob("*.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


FAKES = {
    # Runs its command here; another machine never ends by itself, as Ray's do when their head is gone.
    "srun": """
        wait=300
        while [ "${1#--}" != "$1" ]; do [ "${1%=*}" != --wait ] || wait=${1#*=}; shift; done
        "$@" & here=$!; sleep 300 & other=$!
        trap 'kill $here $other' TERM
        wait $here || { code=$?; kill $other; exit $code; }
        [ "$wait" = 10 ] || wait $other
        kill $other; exit 143
    """,
    "scontrol": 'echo "$@" >> "$NOTES/scontrol"; [ "$1" = show ] && printf "node7\\nnode8\\n"; true',
    "ray": """
        echo "$@" > "$NOTES/ray"; [ -z "$NO_RAY" ] || exec sleep "$NO_RAY"
        while [ "$1" != -- ]; do shift; done; shift; exec "$@"
    """,
    "robustness": """
        echo "$@" > "$NOTES/robustness"; stat -c %a "$RAY_AUTH_TOKEN_PATH" > "$NOTES/mode"
        cp "$RAY_AUTH_TOKEN_PATH" "$NOTES/token"; echo "$RAY_AUTH_MODE" >> "$NOTES/mode"
        trap 'echo saved > "$NOTES/saved"; exit 130' TERM
        touch "$NOTES/ready"
        [ -z "$LONG" ] || while true; do sleep 0.1; done
        exit "$CODE"
    """,
}


@pytest.fixture
def slurm(tmp_path):
    """Starts the script; what the programs noted is in files of `notes`."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "notes").mkdir()
    for name, text in FAKES.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!{BASH}\n{text}")
        program.chmod(0o755)

    def start(**variables):
        environment = os.environ | {
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path),
            "NOTES": str(tmp_path / "notes"), "SLURM_JOB_ID": "41", "SLURM_JOB_NODELIST": "node[7-8]",
            "SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "8", "CODE": "0", "LONG": "",
            "NO_RAY": "",
        }  # fmt: skip
        words = [str(BASH), str(DEPLOY / "slurm.sh"), "my study.yaml", "/shared/my results"]
        return subprocess.Popen(words, env=environment | variables)

    start.notes = tmp_path / "notes"
    start.home = tmp_path
    return start


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_slurm_script_sweeps_with_a_token_that_no_command_shows(slurm, code):
    assert slurm(CODE=str(code)).wait(60) == code
    notes = {path.name: path.read_text() for path in slurm.notes.iterdir()}
    assert notes["robustness"] == "sweep my study.yaml --address auto --out /shared/my results\n"
    assert notes["ray"].startswith("symmetric-run --address node7:20041 --min-nodes 2 --num-gpus 8 -- ")
    assert notes["mode"] == "600\ntoken\n"
    assert re.fullmatch("[0-9a-f]{64}", notes["token"])
    assert not any(notes["token"] in text for name, text in notes.items() if name != "token")
    assert not list(slurm.home.glob(".sweep-token*"))


def test_when_time_is_nearly_up_the_sweep_saves_and_the_job_waits_for_its_next_turn(slurm):
    process = slurm(LONG="yes")
    deadline = time.monotonic() + 60
    while not (slurm.notes / "ready").exists():
        assert process.poll() is None, "the script ended first"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 0
    assert (slurm.notes / "saved").exists()
    assert (slurm.notes / "scontrol").read_text().endswith("requeue 41\n")
    assert not list(slurm.home.glob(".sweep-token*"))


def test_a_cluster_that_does_not_start_is_no_success(slurm):
    (slurm.home / ".sweep-token-41.sweep.code").write_text("0")  # of this job, when it ran before
    assert slurm(NO_RAY="0").wait(60) == 1
    assert not (slurm.notes / "robustness").exists()


def test_time_that_is_up_while_the_cluster_starts_requeues_the_job(slurm):
    process = slurm(NO_RAY="300")
    deadline = time.monotonic() + 60
    while not (slurm.notes / "ray").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 0
    assert (slurm.notes / "scontrol").read_text().endswith("requeue 41\n")


def test_the_slurm_script_says_how_it_is_used():
    done = subprocess.run([str(BASH), DEPLOY / "slurm.sh", "study"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: sbatch deploy/slurm.sh STUDY OUT" in done.stderr
    assert stat.S_IXUSR & (DEPLOY / "slurm.sh").stat().st_mode
