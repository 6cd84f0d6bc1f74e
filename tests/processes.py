import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path


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


def descendants(pid: int) -> list[int]:
    """All processes below this one, from /proc."""
    children = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children[int(fields[1])].append(int(entry.parent.name))
    found, unseen = [], [pid]
    while unseen:
        below = children[unseen.pop()]
        found += below
        unseen += below
    return found


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and everything that it started."""
    tree = [process.pid, *descendants(process.pid)]
    for pid in tree:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    gone(tree[1:])


def gone(pids: list[int]) -> None:
    """Wait until none of these processes runs; fails when they go on for a minute."""
    deadline = time.monotonic() + 60
    while any(map(_runs, pids)):
        assert time.monotonic() < deadline, "processes stayed behind"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Dead ones that nobody waits for don't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: object, process: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Poll until the condition holds; fails when the process ends before or the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the command ended first"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
