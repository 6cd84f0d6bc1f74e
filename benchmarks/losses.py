"""Forward and backward of every loss against lightly, pytorch-metric-learning, plain torch and the matrix products.

    python benchmarks/losses.py [--families dcl nt_xent] [--sizes 256 1024] [--acceptance] [--json FILE] [--csv FILE]

float32 on the CPU, one thread unless asked otherwise. Per family and batch size M all contenders take turns in one
run; a time is the median over the rounds. Every contender does what a training step does: from raw embeddings to the
gradient of both views; ours checks its input. Ratios are peer / ours: above 1, ours is faster. The floor is the
loss's matrix products alone, in the same run: forward (S = anchors x candidates) and backward (G x candidates and
G^T x anchors) over all anchors and candidates, in preallocated buffers, in the best of several block heights
(`matrix_floor.py` has the list). The share is floor / ours; a symmetric matrix can be had below that floor, so that
it may exceed 1. Memory is the peak of a fresh process above an idle one with the same imports, in megabytes.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from loss_memory import can_measure, peak_above_idle
from loss_peers import PEERS, SETTINGS
from loss_report import LARGE_SIZE, MEMORY_SIZE, missing_lines, record, results_table, targets, targets_table
from loss_timing import Limits, Row, measure
from rich.console import Console

SIZES = (64, 256, 1024, 4096, 16_384)
# Minutes per family at this size: by default only for those whose time at 4,096 has a target.
LARGE_SIZE_FAMILIES = ("nt_xent", "dcl", "dhel", "kcl_gaussian")
SIZE_FOR_ALL = 4096
CLOCKS = {"elapsed": time.perf_counter, "processor": time.process_time}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; prints the table, why peers are missing, and the targets."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    limits = Limits(
        dim=options.dim,
        tile=options.tile,
        threads=options.threads,
        repeats=options.repeats,
        memory=not options.no_memory,
        memory_bytes=1e9 * options.memory_gb,
        seconds=options.time_limit,
        clock=CLOCKS[options.clock],
    )
    rows = _measure_all(_plan(options.families, options.sizes), limits)
    large_peaks = _large_peaks(limits) if options.acceptance and can_measure() else {}
    _write(rows, options.json, options.csv)
    # A pipe has no width; rich would break the table at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(results_table(rows))
    for line in missing_lines(rows):
        console.print(line, highlight=False)
    console.print()
    console.print(targets_table(targets(rows, large_peaks)))
    return 0


def _plan(families: Sequence[str] | None, sizes: Sequence[int] | None) -> list[tuple[str, list[int]]]:
    """Each family with its sizes, ascending; a default run leaves the large size to a few families."""
    default = families is None and sizes is None
    ordered = sorted(set(sizes or SIZES))
    return [
        (name, [m for m in ordered if not default or m <= SIZE_FOR_ALL or name in LARGE_SIZE_FAMILIES])
        for name in families or SETTINGS
    ]


def _measure_all(plan: Sequence[tuple[str, Sequence[int]]], limits: Limits) -> list[Row]:
    rows = []
    progress = Console(stderr=True)
    for family, sizes in plan:
        previous = None
        for size in sizes:
            previous = measure(family, size, limits, previous)
            progress.print(f"{family} M = {size:,}: {previous.milliseconds['ours']:,.2f} ms", highlight=False)
            rows.append(previous)
    return rows


def _large_peaks(limits: Limits) -> dict[str, float]:
    def peak(contender: str, size: int) -> float:
        return peak_above_idle(
            "nt_xent", contender, size=size, dim=limits.dim, tile=limits.tile, threads=limits.threads
        )

    peaks = {"ours": peak("ours", MEMORY_SIZE), "large": peak("ours", LARGE_SIZE)}
    if PEERS["nt_xent"]["plain"].peak_bytes(MEMORY_SIZE) <= limits.memory_bytes:
        peaks["plain"] = peak("plain", MEMORY_SIZE)
    return peaks


def _write(rows: Sequence[Row], json_file: Path | None, csv_file: Path | None) -> None:
    records = [record(row) for row in rows]
    if json_file is not None:
        json_file.write_text(json.dumps(records, indent=1) + "\n")
    if csv_file is not None:
        with csv_file.open("w", newline="") as file:
            writer = csv.DictWriter(file, records[0])
            writer.writeheader()
            writer.writerows(records)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="losses.py", description="Time and memory of the losses against their peers.")
    parser.add_argument("--families", nargs="+", choices=sorted(SETTINGS), metavar="NAME", help="default: all")
    parser.add_argument("--sizes", nargs="+", type=_at_least(2), metavar="M", help=f"default: {SIZES}")
    parser.add_argument(
        "--repeats", type=_at_least(1), help="rounds per size; default: 30 up to 256, 7, 3, 1 at 16,384"
    )
    parser.add_argument("--dim", type=_at_least(1), default=128)
    parser.add_argument("--tile", type=_at_least(1), help="anchors at a time; default: the loss chooses")
    parser.add_argument("--threads", type=_at_least(1), default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="elapsed", help="processor: less noise on a busy machine")
    parser.add_argument("--memory-gb", type=float, default=8.0, help="leave out peers that need more; default: 8")
    parser.add_argument(
        "--time-limit", type=float, default=60.0, help="... or would take more seconds a call; default: 60"
    )
    parser.add_argument("--no-memory", action="store_true", help="no peak memory: no fresh processes")
    parser.add_argument("--acceptance", action="store_true", help="also memory at 8,192 and 65,536: minutes more")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--csv", type=Path, metavar="FILE")
    return parser


def _at_least(smallest: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {smallest}, got {text}")
        return int(text)

    return whole_number


if __name__ == "__main__":
    sys.exit(main())
