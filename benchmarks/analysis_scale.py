"""Time and memory of the analysis on synthetic tables of a growing number of rows.

    python benchmarks/analysis_scale.py [--rows 10000 100000 1000000] [--peer-rows 100000] [--acceptance] [--json FILE]

A table is a complete grid of batch size x temperature x weight x depth, 5 seeds a configuration, of up to 20 families:
the million is 20 families of 10,000 configurations. Every table is written to Parquet and analysed in a process of its
own: `report` is `robustness report --table`, start and page included; the other lines are parts of it in turn, on the
table in memory, which together count against the peer: Optuna's fANOVA importances and the data behind its contour plot
of two axes, on the same rows, each a finished trial of a study in memory (families and seeds are no axes to it, and
filling the study does not count). One number is one run; times are those of the machine as it is.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from options import whole_number
from rich.console import Console
from rich.table import Table as Text

SEEDS, LEVELS = 5, 10
MOST_SECONDS, MOST_BYTES, LEAST_RATIO = 120.0, 4e9, 5.0
AXES = {"batch_size": "log2", "temperature": "log", "weight": "log", "depth": "linear"}
_GRID = {"group": "loss", "axes": ",".join(f"{name}:{scale}" for name, scale in AXES.items()), "replicate": "seed"}
OUTCOME = "accuracy"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table.

    Returns:
        1 if acceptance was asked for and a target was missed, else 0.
    """
    options = _parser().parse_args(arguments)
    if options.part is not None:
        print(json.dumps(_part(options.part, Path(options.table))))
        return 0
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            lines += _measured(rows, Path(folder), with_peer=rows == options.peer_rows)
    _print(lines)
    if options.json is not None:
        options.json.write_text(json.dumps(lines, indent=1))
    missed = _missed(lines)
    for text in missed:
        print(f"missed: {text}")
    return 1 if options.acceptance and missed else 0


def synthetic(rows: int, *, seed: int) -> pd.DataFrame:
    """A tidy table of about this many rows: families of up to 10,000 configurations on 5 seeds.

    Accuracy falls off quadratically from an optimum inside; seeds, seeds by batch size and runs have noise.
    """
    configurations = min(rows // SEEDS, LEVELS**4)
    depths = max(configurations // LEVELS**3, 1)
    families = max(rows // (configurations * SEEDS), 1)
    unit = np.stack(np.meshgrid(*[np.linspace(0, 1, k) for k in (LEVELS, LEVELS, LEVELS, depths)], indexing="ij"), -1)
    unit = unit.reshape(-1, len(AXES))
    values = np.column_stack([2.0 ** np.round(4 + 9 * unit[:, 0]), 10 ** (2 * unit[:, 1:3] - 2), 9 * unit[:, 3]])
    frame = pd.DataFrame(values.round(9), columns=list(AXES)).loc[np.repeat(np.arange(len(unit)), SEEDS)]
    rng, parts = np.random.default_rng(seed), []
    block = np.round((LEVELS - 1) * unit[:, 0]).astype(int)
    for family in range(families):
        truth = 0.9 - 0.002 * family - (unit - 0.4) ** 2 @ [0.05, 0.3, 0.1, 0.02] - 0.1 * unit[:, 0] * unit[:, 1]
        common = rng.normal(0, 0.004, SEEDS) + rng.normal(0, 0.002, (LEVELS, SEEDS))[block]
        accuracy = truth[:, None] + common + rng.normal(0, 0.006, (len(unit), SEEDS))
        parts.append(frame.assign(loss=f"loss_{family:02d}", seed=np.tile(np.arange(SEEDS), len(unit)),
                                  accuracy=accuracy.ravel()))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _measured(rows: int, folder: Path, *, with_peer: bool) -> list[dict[str, Any]]:
    path = folder / f"{rows}.parquet"
    frame = synthetic(rows, seed=0)
    frame.to_parquet(path)
    parts = [*PARTS, *(["peer"] if with_peer else [])]
    found = [{"rows": len(frame), "part": part, **_in_a_process(part, path)} for part in parts]
    return [*found, {"rows": len(frame), "part": "report", **_report(path, folder / f"{rows}")}]


def _in_a_process(part: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--table", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _report(path: Path, out: Path) -> dict[str, Any]:
    """The command as a user starts it."""
    names = [word for role, name in _GRID.items() for word in (f"--{role}", name)]
    command = [sys.executable, __file__, "--part", "report", "--table", str(path)]
    words = ["report", "--table", str(path), *names, "--outcome", OUTCOME, "--out", str(out)]
    start = time.perf_counter()
    done = subprocess.run([*command, "--", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1]) | {"seconds": time.perf_counter() - start}


def _part(part: str, path: Path) -> dict[str, Any]:
    """Seconds of one part and the peak memory of this process."""
    seconds = _peer(path) if part == "peer" else _command() if part == "report" else _analysed(part, path)
    return {"seconds": seconds, "bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def _command() -> float:
    from robustness.cli import main as command

    start = time.perf_counter()
    words, sys.argv = sys.argv[sys.argv.index("--") + 1 :], ["robustness"]
    sys.argv += words
    try:
        command()
    except SystemExit as end:
        if end.code:
            raise
    return time.perf_counter() - start


def _analysed(part: str, path: Path) -> float:
    from threadpoolctl import threadpool_limits

    from analysis.table.tidy import from_file

    start = time.perf_counter()
    table = from_file(path, outcome=OUTCOME, **_GRID)
    if part != "reading":
        start = time.perf_counter()
        with threadpool_limits(1):
            PARTS[part](table)
    return time.perf_counter() - start


def _sensitivity(table: Any) -> None:
    from analysis.sensitivity import indices

    indices(table, seed=0)


def _robustness(table: Any) -> None:
    from analysis.robustness import measures_and_curve

    measures_and_curve(table, seed=0)


def _surfaces(table: Any) -> None:
    from analysis.surfaces import surfaces
    from analysis.surfaces.profiles import profiles

    surfaces(table, OUTCOME, seed=0)
    profiles(table, OUTCOME, seed=0)


PARTS: dict[str, Callable[[Any], None]] = {
    "reading": lambda table: None,
    "sensitivity": _sensitivity,
    "robustness": _robustness,
    "surfaces": _surfaces,
}
"""What is timed; `sensitivity` and `surfaces` are what the peer does too, and more."""


def _peer(path: Path) -> float:
    """Seconds of Optuna on all rows as one study: importances by fANOVA, and the figure of a contour plot."""
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    frame = pd.read_parquet(path)
    ranges = {name: (float(frame[name].min()), float(frame[name].max())) for name in AXES}
    space = {
        name: optuna.distributions.FloatDistribution(*ends, log=AXES[name] != "linear") for name, ends in ranges.items()
    }
    study = optuna.create_study(direction="maximize")
    rows = zip(frame[list(AXES)].to_dict("records"), frame[OUTCOME], strict=True)
    study.add_trials([optuna.create_trial(params=row, distributions=space, value=value) for row, value in rows])
    start = time.perf_counter()
    FanovaImportanceEvaluator(seed=0).evaluate(study)
    optuna.visualization.matplotlib.plot_contour(study, params=["batch_size", "temperature"])
    return time.perf_counter() - start


def _missed(lines: Sequence[dict[str, Any]]) -> list[str]:
    found = [f"{line['part']} of {line['rows']:,} rows: {line['error']}" for line in lines if "error" in line]
    known = {(line["rows"], line["part"]): line for line in lines if "error" not in line}
    for (rows, part), line in known.items():
        if part == "report" and rows >= 1_000_000 and (line["seconds"] > MOST_SECONDS or line["bytes"] > MOST_BYTES):
            found.append(f"{rows:,} rows in {line['seconds']:.0f} s and {line['bytes'] / 1e9:.1f} GB")
        if part == "peer":
            ours = sum(known[rows, name]["seconds"] for name in ("sensitivity", "surfaces") if (rows, name) in known)
            if line["seconds"] < LEAST_RATIO * ours:
                found.append(f"only {line['seconds'] / ours:.1f} times as fast as the peer at {rows:,} rows")
    return found


def _print(lines: Sequence[dict[str, Any]]) -> None:
    text = Text("rows", "part", "seconds", "GB", "rows a second")
    for line in lines:
        if "error" in line:
            text.add_row(f"{line['rows']:,}", line["part"], line["error"], "", "")
            continue
        rate = line["rows"] / line["seconds"]
        text.add_row(
            f"{line['rows']:,}", line["part"], f"{line['seconds']:.1f}", f"{line['bytes'] / 1e9:.2f}", f"{rate:,.0f}"
        )
    Console(width=120).print(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    number = whole_number(at_least=SEEDS * LEVELS**3)
    parser.add_argument("--rows", type=number, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--peer-rows", type=int, default=100_000, help="the table that Optuna gets too")
    parser.add_argument("--acceptance", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
