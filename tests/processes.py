import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from robustness.cli import main


def robustness(*arguments: object, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end and keep what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "robustness.cli", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=600, check=False, **options,
    )  # fmt: skip


def start(*arguments: object, cwd: Path) -> subprocess.Popen[bytes]:
    """Start the command and go on, in a process group of its own; what it complains about goes to the file `stderr`."""
    # A shell makes its background jobs ignore SIGINT, and what they start inherits that.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with (cwd / "stderr").open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "robustness.cli", *map(str, arguments)],
                cwd=cwd, stdout=subprocess.DEVNULL, stderr=errors, process_group=0,
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, ours)


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below this one."""
    return psutil.Process(pid).children(recursive=True)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and everything that it started."""
    below = descendants(process.pid) if process.poll() is None else []
    process.kill()
    for one in below:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    gone(below)


def gone(processes: list[psutil.Process]) -> None:
    """Wait until none of these runs; fails when they go on for a minute.

    Ray's agents do: that long they try to tell a cluster that is gone that it is gone.
    """
    deadline = time.monotonic() + 60
    while left := [str(process) for process in processes if _runs(process)]:
        assert time.monotonic() < deadline, f"stayed behind: {left}"
        time.sleep(0.05)


def _runs(process: psutil.Process) -> bool:
    """Dead ones that nobody waits for don't."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE and "Agent" not in process.name()
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: object, process: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Poll until the condition holds; fails when the process ends before or the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the command ended first"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.fixture(name="command")
def command_fixture(tmp_path, monkeypatch, capsys):
    """Runs the command in this process and in an empty folder; what it printed, and its exit code."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["robustness", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=printed.out, stderr=printed.err)

    return run
