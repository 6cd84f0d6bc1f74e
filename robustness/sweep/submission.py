"""A sweep as a Ray job: its driver runs on the cluster, whatever becomes of the machine that submitted it."""

import json
import logging
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml
from ray.exceptions import AuthenticationError

from robustness.sweep.access import lets_anybody_in, refused, use_token
from search_spaces import Study, shipped_studies
from search_spaces.axes import StudyError

_SECONDS_TO_ANSWER = 10
_SECONDS_BETWEEN_LOOKS = 1.0
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|(API|ACCESS)_?KEY", re.IGNORECASE)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_SECONDS_TO_SAVE = "20"
"""How long a job that is stopped may take before it is killed; Ray's default is 3, a sweep needs up to 10."""


@dataclass(frozen=True)
class Submission:
    """A job to submit.

    Args:
        study: the argument of `robustness sweep`: the name of a shipped study or a path.
        out: where the results shall be: a URI, or a path that means the same on every machine of the cluster.
        options: further words of the command.
        working_dir: a folder that the job gets a copy of; one with the study's file alone unless given.
        runtime_env: Ray's runtime environment, as its documentation describes it.
        cpus, resources: that the driver takes, so that it is put on a machine that has them.

    Raises:
        StudyError: the results have no place that machines share, or a secret would be seen, in one line.
    """

    study: str
    out: str
    options: Sequence[str] = ()
    working_dir: Path | None = None
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    cpus: float = 1
    resources: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_out(self.out)
        _check_environment(self.runtime_env)


class Jobs:
    """The jobs of one cluster.

    Args:
        address: of its dashboard, http://HOST:PORT.
        insecure: whether a cluster without token authentication, or an address that sends the token unencrypted to
            another machine, is accepted.

    Raises:
        StudyError: nothing answers there, it refuses this process or lets anybody in, in one line.
    """

    def __init__(self, address: str, *, insecure: bool = False) -> None:
        self.address = address
        place = f"--address {address}"
        _check_url(address, place, insecure=insecure)
        guarded = _asks_for_a_token(address, place)
        if not guarded and not insecure:
            raise lets_anybody_in(place)
        use_token(guarded)
        try:
            from ray.job_submission import JobSubmissionClient

            self.client = JobSubmissionClient(address)
            self.client.get_version()
            self.client.list_jobs()
        except AuthenticationError:
            raise refused(place) from None
        except Exception as error:
            # Of all kinds: from requests, from Ray, and its own RuntimeError where ray[default] is missing.
            raise StudyError(f"{place}: can't use the cluster's jobs: {_line(error)}") from None

    def submit(self, study: Study, submission: Submission) -> str:
        """Start a job and return its id; a job that is started again, by whomever, continues.

        Raises:
            StudyError: the study isn't in the folder that is copied, or the cluster refuses the job, in one line.
        """
        with tempfile.TemporaryDirectory(prefix="job-") as alone:
            name, folder = _study_in(submission, Path(alone))
            words = ["robustness", "sweep", name, "--address", "auto", "--out", submission.out, *submission.options]
            environment = dict(submission.runtime_env)
            environment["env_vars"] = {
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_JOB_STOP_WAIT_TIME_S": _SECONDS_TO_SAVE,
                **environment.get("env_vars", {}),
            }
            if folder is not None:
                environment["working_dir"] = str(folder)
            # Ray tells of each file that it sends.
            logging.disable(logging.INFO)
            try:
                return str(
                    self.client.submit_job(
                        entrypoint=shlex.join(words),
                        runtime_env=environment,
                        entrypoint_num_cpus=submission.cpus,
                        entrypoint_resources=dict(submission.resources) or None,
                        metadata={"study": study.name, "results": submission.out},
                    )
                )
            except Exception as error:
                raise StudyError(f"--address {self.address}: the cluster refuses the job: {_line(error)}") from None
            finally:
                logging.disable(logging.NOTSET)

    def wait(self, job: str, *, show: Callable[[str], None] | None = None) -> int:
        """Wait until a job has ended.

        Args:
            show: gets what the job prints, as it does.

        Returns:
            The exit code of the command that it ran; 130 where it was stopped.

        Raises:
            StudyError: the job never ran, in one line.
        """
        shown = 0
        while True:
            details = self.client.get_job_info(job)
            if show is not None:
                text = self.client.get_job_logs(job)
                if len(text) > shown:
                    show(text[shown:])
                    shown = len(text)
            if str(details.status.value) in _ENDED:
                break
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        if details.status.value == "STOPPED":
            return 130
        if details.driver_exit_code is None and details.status.value == "FAILED":
            raise StudyError(f"{job}: the job failed before its command ran or ended: {_line(details.message)}")
        return int(details.driver_exit_code or 0)


def runtime_env_of(path: Path) -> dict[str, Any]:
    """Ray's runtime environment from a YAML file.

    Raises:
        StudyError: it can't be read or holds no mapping, in one line.
    """
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StudyError(f"--runtime-env {path}: {_line(error)}") from None
    if not isinstance(found, dict):
        raise StudyError(f"--runtime-env {path}: expected a mapping such as {{env_vars: ..., pip: ...}}")
    if "working_dir" in found:
        raise StudyError(f"--runtime-env {path}: working_dir: use --working-dir")
    return found


def resources_of(text: str) -> dict[str, float]:
    """Resources from JSON.

    Raises:
        StudyError: the text is no JSON object of positive numbers, in one line.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict) and all(type(amount) in (int, float) and amount > 0 for amount in found.values()):
        return found
    raise StudyError(f"--driver-resources: expected JSON such as {{\"driver\": 1}}, got '{text}'")


def _check_url(address: str, place: str, *, insecure: bool) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StudyError(f"{place}: expected the address of a cluster's dashboard, such as http://127.0.0.1:8265")
    if parts.username or parts.password:
        raise StudyError("--address: an address holds no credentials; the token is read from RAY_AUTH_TOKEN")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not insecure:
        rule = "http sends the token unencrypted to another machine"
        raise StudyError(f"{place}: {rule}; use https, a tunnel to 127.0.0.1, or accept that with --insecure")


def _asks_for_a_token(address: str, place: str) -> bool:
    try:
        answer = requests.get(f"{address.rstrip('/')}/api/jobs/", timeout=_SECONDS_TO_ANSWER, allow_redirects=False)
    except requests.RequestException as error:
        raise StudyError(f"{place}: nothing answers there: {_line(error)}") from None
    return answer.status_code in (401, 403)


def _check_out(out: str) -> None:
    if "://" not in out and not Path(out).is_absolute():
        rule = "expected a URI, or an absolute path that all machines of the cluster share"
        raise StudyError(f"--out: {rule}, got '{out}'")


def _check_environment(runtime_env: Mapping[str, Any]) -> None:
    for name in runtime_env.get("env_vars", {}):
        if _SECRET.search(name):
            rule = "whoever sees the dashboard sees a job's environment; give secrets to the machines"
            raise StudyError(f"--runtime-env: env_vars.{name}: {rule}")


def _study_in(submission: Submission, alone: Path) -> tuple[str, Path | None]:
    """What the job calls the study, and the folder that it gets a copy of."""
    if submission.study in shipped_studies():
        return submission.study, submission.working_dir
    path = Path(submission.study).expanduser().resolve()
    if submission.working_dir is None:
        (alone / path.name).write_bytes(path.read_bytes())
        return path.name, alone
    folder = submission.working_dir.expanduser().resolve()
    if not path.is_relative_to(folder):
        raise StudyError(f"--working-dir {submission.working_dir}: expected a folder that holds {submission.study}")
    return str(path.relative_to(folder)), folder


def _line(error: object) -> str:
    return " ".join(str(error).split())[:300]
