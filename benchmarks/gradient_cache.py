"""Peak memory and time of one step on a large batch, plain and in micro-batches.

Each case runs in a fresh process on one thread; its peak is compared with that of a process that imported the
same and did nothing. Run as `python benchmarks/gradient_cache.py`: a table in Markdown, in about four minutes.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor, nn

from robustness.losses import LOSSES
from robustness.training.gradient_cache import backward_in_micro_batches

CASES = ((256, 256), (16_384, 256), (4096, 4096))
"""Batch and micro-batch of each case."""

LARGE = 16_384
MOST_MEGABYTES = 16_000
"""The plain step on the large batch runs only where the one on a quarter of it says that it needs less."""


def encoder() -> nn.Module:
    """Three convolutions, 32x32 to 8x8, and a projector to 128 dimensions: .7 MB of activations for two views."""
    torch.manual_seed(0)
    widths, strides = (3, 16, 32, 64), (1, 2, 2)
    layers: list[nn.Module] = []
    for width, wider, stride in zip(widths[:-1], widths[1:], strides, strict=True):
        layers += [nn.Conv2d(width, wider, 3, stride, 1), nn.GroupNorm(8, wider), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128)
    )


def step(batch: int, micro_batch: int) -> tuple[float, float]:
    """One step on random images, kept as bytes and cast a micro-batch at a time.

    Returns:
        Seconds, and the value of the loss.
    """
    network, generator = encoder(), torch.Generator().manual_seed(0)
    views = tuple(torch.randint(256, (batch, 3, 32, 32), dtype=torch.uint8, generator=generator) for _ in range(2))

    def loss(first: Tensor, second: Tensor) -> Tensor:
        return LOSSES["nt_xent"].compute(first, second, temperature=0.2)

    started = time.perf_counter()
    value = backward_in_micro_batches(
        network, views, loss, embed=lambda images: network(images.float() / 255), micro_batch=micro_batch
    )
    return time.perf_counter() - started, float(value)


def peak_megabytes() -> float:
    """The most memory that this process has held, in units of 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def measure(batch: int, micro_batch: int) -> tuple[float, float, float]:
    """Peak megabytes, seconds and loss of a case in a fresh process."""
    command = [sys.executable, __file__, "--case", str(batch), str(micro_batch)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    megabytes, seconds, value = map(float, output.split())
    return megabytes, seconds, value


def print_row(batch: int, micro_batch: int, *, idle: float, smallest: float | None) -> float:
    """A line of the table.

    Returns:
        Peak megabytes above those of an idle process.
    """
    peak, seconds, value = measure(batch, micro_batch)
    size = "plain" if micro_batch == batch else f"{micro_batch:,}"
    above = peak - idle
    ratio = 1.0 if smallest is None else above / smallest
    row = f"| {batch:,} | {size} | {above:,.0f} | {ratio:.2f}"
    print(f"{row} | {seconds:.1f} | {batch / seconds:.0f} | {value:.4f} |", flush=True)
    return above


def run_case(batch: int, micro_batch: int) -> None:
    """What a fresh process does; a batch of 0 does nothing."""
    torch.set_num_threads(1)
    seconds, value = step(batch, micro_batch) if batch else (0.0, 0.0)
    print(peak_megabytes(), seconds, value)


def main() -> None:
    """Measure every case and print the table."""
    idle, _, _ = measure(0, 0)
    print(f"Idle process: {idle:.0f} MB. One thread, torch {torch.__version__}.\n")
    print("| batch | micro-batch | peak above idle, MB | / batch 256 | seconds | images / s | loss |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    peaks: list[float] = []
    for case in CASES:
        peaks.append(print_row(*case, idle=idle, smallest=peaks[0] if peaks else None))
    expected = peaks[-1] * LARGE / CASES[-1][0]
    if expected < MOST_MEGABYTES:
        print_row(LARGE, LARGE, idle=idle, smallest=peaks[0])
    else:
        print(f"\nNot run: a plain step on {LARGE:,} images, which would take about {expected:,.0f} MB.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs=2, type=int, metavar=("BATCH", "MICRO_BATCH"))
    case = parser.parse_args().case
    main() if case is None else run_case(*case)
