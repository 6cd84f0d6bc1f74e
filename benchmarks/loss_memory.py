"""Peak memory of one forward and backward, in a fresh process, above a process that only imported the same modules.

`python loss_memory.py FAMILY CONTENDER M DIM TILE THREADS` prints the peak of its own resident set in bytes. The
peak is VmHWM of /proc/self/status, which counts from this program's start; getrusage's ru_maxrss would carry over
the peak of the process that started this one. Linux only.
"""

import functools
import subprocess
import sys
from pathlib import Path

import torch
from loss_peers import PEERS, SETTINGS, LossFunction

from robustness.losses import LOSSES

_STATUS = Path("/proc/self/status")


def ours(family: str, tile: int | None) -> LossFunction:
    """Our loss at the benchmark's hyperparameters; tile None leaves the choice to the loss."""
    return functools.partial(LOSSES[family], tile=tile, **SETTINGS[family])


def two_views(size: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of two views that resemble each other, float32, ready for a gradient."""
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(size, dim, generator=generator)
    v = u + torch.randn(size, dim, generator=generator)
    return u.requires_grad_(), v.requires_grad_()


def can_measure() -> bool:
    """Whether this system tells the peak of a process."""
    return _STATUS.exists()


def peak_above_idle(family: str, contender: str, *, size: int, dim: int, tile: int | None, threads: int) -> float:
    """Peak bytes above idle of `ours` or `plain` at batch size M; NaN where the process did not end well."""
    return _peak(family, contender, size, dim, tile, threads) - idle_peak(threads)


@functools.cache
def idle_peak(threads: int) -> float:
    """Peak bytes of a process that imports the losses, ours and the plain ones, and computes nothing."""
    return _peak("nt_xent", "plain", 0, 0, None, threads)


def _peak(family: str, contender: str, size: int, dim: int, tile: int | None, threads: int) -> float:
    arguments = [family, contender, str(size), str(dim), str(tile or 0), str(threads)]
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else float("nan")


def _run(family: str, contender: str, size: int, dim: int, tile: int) -> None:
    loss = ours(family, tile or None) if contender == "ours" else PEERS[family][contender].build(SETTINGS[family], dim)
    if size:
        loss(*two_views(size, dim)).backward()


def _peak_of_this_process() -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    family, contender, size, dim, tile, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    _run(family, contender, int(size), int(dim), int(tile))
    sys.stdout.write(f"{_peak_of_this_process()}\n")
