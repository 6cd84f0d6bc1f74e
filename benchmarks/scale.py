"""What a sweep of very many trials costs beside its trials: driver, files, resuming, reading.

    python benchmarks/scale.py [--trials 10000 50000] [--pack-size 32] [--acceptance] [--json FILE]

The trials are next to nothing: one update on 16 images, no probes, geometry of 16 test images. A row a number of
trials, each a sweep on all CPUs of this machine in a process of its own that then compacts and reads the results.
`driver ms` is processor time of the driver over trials, start-up included; `growth MB` its peak memory above that of a
driver of two packs. Beside it, a plain Ray Tune script whose trials report one number: what its driver takes for each.
"""

import argparse
import json
import multiprocessing
import os
import resource
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from loss_report import Target, targets_table
from options import whole_number, with_targets
from rich.console import Console
from rich.table import Table

from search_spaces import Study, parse_study

TEMPERATURES = 500
PEER_TRIALS = 200
FILES_PER_ROWS = 100_000


@dataclass(frozen=True)
class Scale:
    """What a sweep of so many trials took: seconds, megabytes and files."""

    trials: int
    packs: int
    wall_seconds: float
    driver_ms: float
    growth_mb: float
    files: int
    resume_seconds: float
    read_seconds: float
    compact_seconds: float
    files_after: int
    read_seconds_after: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables.

    Returns:
        1 if acceptance was asked for and a target was missed, else 0.
    """
    options = _parser().parse_args(arguments)
    base_mb = _swept(2 * options.pack_size, options.pack_size)["peak_mb"]
    found = [_scale(count, options.pack_size, base_mb) for count in options.trials]
    peer_ms = 1e3 * _in_a_process(_plain_tune, PEER_TRIALS)["processor_seconds"] / PEER_TRIALS
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(_table(found))
    console.print(f"plain Ray Tune: {peer_ms:.1f} ms of its driver a trial, {PEER_TRIALS} trials", highlight=False)
    if options.json is not None:
        record = {"cpus": os.cpu_count(), "tune_driver_ms": peer_ms, "sweeps": [asdict(row) for row in found]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if not options.acceptance:
        return 0
    lines = targets(found)
    console.print(targets_table(lines))
    return int(any(line.verdict != "held" for line in lines))


def study_of(trials: int, pack_size: int) -> Study:
    """A study of so many trials, or a few more, that train next to nothing."""
    temperatures = min(trials, TEMPERATURES)
    return parse_study(
        {
            "name": "scale",
            "data": {"dataset": "digits"},
            "model": {"projector": [8, 4]},
            "training": {"updates": 1},
            "evaluation": {"probes": [], "images": 16},
            "seeds": -(-trials // temperatures),
            "axes": {"batch_size": {"values": [16]}},
            "families": {"nt_xent": {"temperature": {"low": 0.01, "high": 10, "scale": "log", "levels": temperatures}}},
            "pack": {"size": pack_size},
            "analysis": {"outcome": "final_loss"},
        },
        "scale",
    )


def targets(found: Sequence[Scale]) -> list[Target]:
    """Every acceptance line, measured or not."""
    first, last = found[0], found[-1]
    per_rows = last.files_after / -(-last.trials // FILES_PER_ROWS)
    return [
        Target(f"driver ms a trial, {first.trials:,} trials", first.driver_ms, 5, at_least=False),
        Target(
            f"driver ms a trial, {last.trials:,} trials / {first.trials:,}",
            last.driver_ms / first.driver_ms,
            1,
            at_least=False,
        ),
        Target("driver memory growth, MB", max(row.growth_mb for row in found), 300, at_least=False),
        Target(f"resume, nothing to do, {last.trials:,} trials, s", last.resume_seconds, 20, at_least=False),
        Target(f"read_parquet after compaction, {last.trials:,} trials, s", last.read_seconds_after, 3, at_least=False),
        Target(f"files per {FILES_PER_ROWS:,} rows after compaction", per_rows, 1, at_least=False),
    ]


def _scale(trials: int, pack_size: int, base_mb: float) -> Scale:
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        told = _swept(trials, pack_size, folder)
        resumed = _in_a_process(_sweep, trials, pack_size, folder)
        return Scale(
            trials=told["trials"],
            packs=told["packs"],
            wall_seconds=told["seconds"],
            driver_ms=1e3 * told["processor_seconds"] / told["trials"],
            growth_mb=told["peak_mb"] - base_mb,
            resume_seconds=resumed["seconds"],
            **_in_a_process(_read_and_compact, folder, told["trials"]),
        )


def _swept(trials: int, pack_size: int, folder: Path | None = None) -> dict[str, Any]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="scale-") as name:
            return _swept(trials, pack_size, Path(name))
    return _in_a_process(_sweep, trials, pack_size, folder)


def _in_a_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What a function returns in a fresh process, and what the process took from its start on."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_tell, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        told: dict[str, Any] = here.recv()
    except EOFError:
        raise RuntimeError(f"{function.__name__} failed; see above") from None
    finally:
        process.join()
    return told


def _tell(pipe: Any, function: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> None:
    pipe.send(function(*arguments))


def _sweep(trials: int, pack_size: int, folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    # Here, so that importing counts.
    from robustness.store import read_plan
    from robustness.sweep import sweep

    summary = sweep(study_of(trials, pack_size), folder)
    seconds = time.perf_counter() - started
    if summary.failed or summary.left:
        raise RuntimeError(f"{summary.failed} trials failed, {summary.left} are left")
    packs = read_plan(folder)["pack_id"].nunique()
    return {"trials": summary.planned, "packs": packs, "seconds": seconds, **_used()}


def _plain_tune(trials: int) -> dict[str, Any]:
    """A script that nobody would write for less: a Tune trial for each, on processes that are used again."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray
    from ray import tune

    def report(config: dict[str, Any]) -> None:
        tune.report({"outcome": float(config["number"])})

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory(prefix="tune-") as scratch:
        tune.Tuner(
            report,
            param_space={"number": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        ).fit()
    ray.shutdown()
    return _used()


def _used() -> dict[str, float]:
    """Of this process alone: Ray's own processes and the workers are others."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"processor_seconds": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def _read_and_compact(folder: Path, trials: int) -> dict[str, Any]:
    from robustness.store import compact

    files = sum(1 for path in folder.rglob("*") if path.is_file())
    before = _seconds_to_read(folder, trials)
    started = time.perf_counter()
    compact(folder)
    return {
        "files": files,
        "read_seconds": before,
        "compact_seconds": time.perf_counter() - started,
        "files_after": len(list((folder / "trials").iterdir())),
        "read_seconds_after": _seconds_to_read(folder, trials),
    }


def _seconds_to_read(folder: Path, trials: int) -> float:
    """As a user would, and every trial is there once."""
    started = time.perf_counter()
    frame = pd.read_parquet(folder / "trials")
    seconds = time.perf_counter() - started
    if len(frame) != trials or not frame["trial_id"].is_unique:
        raise RuntimeError(f"{folder}: {len(frame)} rows of {trials} trials")
    return seconds


def _table(found: Sequence[Scale]) -> Table:
    headings = (
        "trials", "packs", "sweep s", "driver ms", "growth MB", "files", "resume s", "read s", "compact s", "files",
        "read s",
    )  # fmt: skip
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in found:
        cells = asdict(row).values()
        table.add_row(*(f"{cell:,.2f}" if isinstance(cell, float) else f"{cell:,}" for cell in cells))
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scale.py", description="What a sweep of very many trials costs.")
    positive = whole_number(at_least=1)
    parser.add_argument("--trials", nargs="+", type=positive, default=[10_000, 50_000])
    parser.add_argument("--pack-size", type=positive, default=32)
    return with_targets(parser)


if __name__ == "__main__":
    sys.exit(main())
