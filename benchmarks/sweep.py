"""Trials per hour of a sweep: ours, ours without packs, and a plain Ray Tune script.

    python benchmarks/sweep.py [--batch-sizes 16 64 256] [--trials 8] [--rounds 3] [--acceptance] [--json FILE]

The work is the quickstart: its families at their levels, a seed a round, on all CPUs of this machine. In every round
and batch size the contenders take turns: `ours` sweeps all configurations in the packs that the study ships with;
`tune` (`tune_baseline.py`) and `single` (our own code with packs of one trial) sweep the same random sample of them, as
their rate depends on no neighbour. A rate is trials over the time from the first trial's start to the last one's end,
its figure the median over the rounds; Ray's start and end and its workers' imports are the start-up beside it. Ours
also measures embeddings' geometry and evaluates along the way, which nobody wrote into the plain script.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from loss_report import targets_table
from options import whole_number, with_targets
from quickstart_work import BATCH_SIZES, EPOCHS, FAMILIES, Configuration, configurations, part_of_quickstart
from rich.console import Console
from step_floor import floor_seconds, layer_shapes
from sweep_report import (
    CONTENDERS,
    Rate,
    SameWork,
    Step,
    rates,
    rates_table,
    same_work,
    same_work_table,
    steps_table,
    targets,
)
from sweep_turns import Turn, run
from tune_baseline import initial_encoder

from search_spaces import Study

NUM_CPUS = os.cpu_count() or 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its tables.

    Returns:
        1 if acceptance was asked for and a target was missed, else 0.
    """
    options = _parser().parse_args(arguments)
    turns, steps = _measure(options)
    rated, compared = rates(turns), same_work(turns)
    _print(rated, steps, compared)
    if options.json is not None:
        _write(options.json, rated, steps, compared)
    if not options.acceptance:
        return 0
    lines = targets(rated, compared)
    _console().print(targets_table(lines))
    return int(any(line.verdict != "held" for line in lines))


def _measure(options: argparse.Namespace) -> tuple[list[Turn], list[Step]]:
    turns: list[Turn] = []
    steps: list[Step] = []
    for batch_size in options.batch_sizes:
        ours: list[Turn] = []
        floors: list[float] = []
        for index in range(options.rounds):
            for contender in options.contenders:
                study = _work(contender, options, batch_size=batch_size, index=index)
                turn = run(contender, study, batch_size)
                _announce(turn)
                turns.append(turn)
                if contender == "ours":
                    ours.append(turn)
                    floors.append(_floor(turn))
        if ours:
            steps.append(_step(ours, floors))
    return turns, steps


def _work(contender: str, options: argparse.Namespace, *, batch_size: int, index: int) -> Study:
    """The study of one turn: everything for `ours`, the round's sample for the others."""
    everything = configurations(options.families)
    # Four packs for every two CPUs, since a seed of the quickstart has two at each batch size: of one pack each,
    # the second by which workers start apart would be a tenth of the turn.
    num_seeds = NUM_CPUS
    sample = sampled(everything, -(-options.trials // num_seeds), index=index)
    return part_of_quickstart(
        everything if contender == "ours" else sample,
        batch_sizes=[batch_size],
        seeds=range(index * num_seeds, (index + 1) * num_seeds),
        epochs=options.epochs,
        **({"pack_size": 1} if contender == "single" else {}),
    )


def sampled(everything: Sequence[Configuration], count: int, *, index: int) -> list[Configuration]:
    """The sample of a round, at most everything; configurations come again only when all have had their turn."""
    order = np.random.default_rng(0).permutation(len(everything))
    places = np.arange(index * count, index * count + min(count, len(everything))) % len(everything)
    return [everything[place] for place in order[places]]


def _floor(turn: Turn) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = floor_seconds(layer_shapes(initial_encoder(0)), members=_members(turn), batch_size=turn.batch_size)
    torch.set_num_threads(threads)
    return seconds


def _members(turn: Turn) -> int:
    return int(turn.trials["slice_size"].median())


def _step(ours: Sequence[Turn], floors: Sequence[float]) -> Step:
    seconds = statistics.median(turn.trials["step_seconds"].median() for turn in ours)
    return Step(ours[0].batch_size, _members(ours[0]), 1e3 * seconds, 1e3 * statistics.median(floors))


def _announce(turn: Turn) -> None:
    line = f"{CONTENDERS[turn.contender]}, batch size {turn.batch_size}: {turn.per_hour:,.0f} trials an hour"
    Console(stderr=True).print(line, highlight=False)


def _print(rated: Sequence[Rate], steps: Sequence[Step], compared: Sequence[SameWork]) -> None:
    console = _console()
    console.print(f"{NUM_CPUS} CPUs, torch {torch.__version__}", highlight=False)
    for table, rows in (
        (rates_table(rated), rated),
        (steps_table(steps), steps),
        (same_work_table(compared), compared),
    ):
        if rows:
            console.print(table)
            console.print()


def _console() -> Console:
    # A pipe has no width; rich would break the tables at 80 columns.
    return Console(width=None if sys.stdout.isatty() else 200)


def _write(file: Path, rated: Sequence[Rate], steps: Sequence[Step], compared: Sequence[SameWork]) -> None:
    parts = {"rates": rated, "steps": steps, "same_work": compared}
    records = {name: [asdict(row) for row in rows] for name, rows in parts.items()}
    file.write_text(json.dumps({"cpus": NUM_CPUS, **records}, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sweep.py", description="Trials per hour, against plain Ray Tune.")
    positive = whole_number(at_least=1)
    parser.add_argument("--batch-sizes", nargs="+", type=int, choices=BATCH_SIZES, default=BATCH_SIZES)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES, metavar="NAME")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument(
        "--trials",
        type=positive,
        default=4 * NUM_CPUS,
        help="of a turn of single and tune; a multiple of the CPUs leaves none idle; default: 4 per CPU",
    )
    parser.add_argument("--rounds", type=positive, default=3, help="turns of each contender; default: 3")
    parser.add_argument("--epochs", type=positive, default=EPOCHS, help="fewer for a quick look")
    return with_targets(parser)


if __name__ == "__main__":
    sys.exit(main())
