"""A study under random kills, against the same study left alone: lost, doubled and differing rows, repeated work.

    python benchmarks/chaos.py [--kills 100] [--seconds 8] [--seed 0] [--json FILE]

A sweep of packs that take several checkpoints each. Again and again, after a random time, a process of the sweep gets
SIGKILL: a worker (7 of 12), the driver (3), Ray's own node process, the raylet (1), or the queue of packs (1). Where
the driver ends, the same command is started again, until the study is done; then another folder is begun, until there
were enough kills. Every folder must end with the rows of the run that was left alone: each trial once, outcomes bit by
bit. The loss notes down its updates, from which the work that was done twice follows. Exit code 1 where a row is lost
or doubled or differs, or where a kill costs more than a checkpoint interval of work.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import yaml
from loss_report import Target, targets_table
from options import whole_number
from rich.console import Console

from robustness.store import OUTCOMES, read, read_plan, verify

CHECKPOINT_SECONDS = 2.0
KINDS = {"worker": 7, "driver": 3, "raylet": 1, "queue": 1}
"""What is killed, and how often in comparison."""

TITLES = {"worker": "ray::ImplicitFunc", "raylet": "raylet", "queue": "ray::PackQueue"}
"""How the command lines of Ray's processes begin, or what they run."""

LOSS = """
import os
from pathlib import Path
from robustness.losses import LOSSES

NOTES = (Path(os.environ["CHAOS_NOTES"]) / f"{os.getpid()}-{os.urandom(4).hex()}").open("xb", buffering=0)

def counted(u, v, *, temperature):
    NOTES.write(b".")
    return LOSSES["nt_xent"](u, v, temperature=temperature)
"""
SPACE = """
from search_spaces import Continuous, Hyperparameter, Space
TEMPERATURE = Hyperparameter(Continuous(0.02, 10.0, "log"), 0.5, "temperature", "of nt_xent", above=0.0)
SPACE = Space("nt_xent that notes down its updates", {"temperature": TEMPERATURE})
"""


@dataclass
class Round:
    """What became of one folder.

    Args:
        kills: by kind.
        starts: of the driver.
        seconds: until the study was done.
        updates: of all slices, those that were done twice included.
    """

    kills: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    seconds: float = 0.0
    updates: int = 0
    lost: int = 0
    doubled: int = 0
    differing: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def num_kills(self) -> int:
        """Of all kinds."""
        return sum(self.kills.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print what it found; 1 where a promise is broken, else 0."""
    options = _parser().parse_args(arguments)
    draw, console = random.Random(options.seed), Console(highlight=False)
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, _package(Path(name)) as environment:
        sweeps = _Sweeps(Path(name), environment)
        calm = sweeps.run("calm", lambda driver: False)
        expected = read(Path(name) / "calm").set_index("trial_id").sort_index()
        console.print(f"left alone: {len(expected)} trials, {calm.updates:,} updates, {calm.seconds:.0f} s")
        while (left := options.kills - sum(each.num_kills for each in rounds)) > 0:
            folder = f"chaos{len(rounds)}"
            killer = _Killer(draw, options.seconds, most=left)
            found = sweeps.run(folder, killer)
            found.kills = dict(killer.kills)
            _compare(found, Path(name) / folder, expected)
            rounds.append(found)
            console.print(_line(found, calm))
        seconds = expected["train_seconds"].sum() / calm.updates
    lines = targets(rounds, calm, seconds_per_update=seconds)
    console.print(targets_table(lines))
    if options.json is not None:
        record = {"calm": asdict(calm), "rounds": [asdict(each) for each in rounds]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return int(any(line.verdict != "held" for line in lines))


def targets(rounds: Sequence[Round], calm: Round, *, seconds_per_update: float) -> list[Target]:
    """What the store promises, and what was measured."""
    kills = sum(each.num_kills for each in rounds)
    repeated = sum(each.updates - calm.updates for each in rounds) * seconds_per_update
    counts = {
        "rows lost": sum(each.lost for each in rounds),
        "rows doubled": sum(each.doubled for each in rounds),
        "rows whose outcomes differ": sum(each.differing for each in rounds),
        "problems that verify finds": sum(len(each.problems) for each in rounds),
    }
    return [
        Target("kills", kills, 100, at_least=True),
        *(Target(text, count, 0, at_least=False) for text, count in counts.items()),
        Target(
            "checkpoint intervals of work repeated a kill", repeated / kills / CHECKPOINT_SECONDS, 1, at_least=False
        ),
    ]


class _Sweeps:
    """Runs the study in folders of `here` until it is done."""

    def __init__(self, here: Path, environment: dict[str, str]) -> None:
        self.here, self.environment = here, environment
        (here / "study.yaml").write_text(yaml.safe_dump(_study()))

    def run(self, folder: str, disturb: Callable[[psutil.Process], bool]) -> Round:
        """Start the command as often as it takes; `disturb` is called all the time, and says whether it killed."""
        notes = self.here / f"{folder}-notes"
        notes.mkdir()
        found, started, code = Round(), time.monotonic(), None
        while code != 0:
            found.starts += 1
            code = self._run_once(folder, notes, disturb)
        found.seconds = time.monotonic() - started
        found.updates = sum(path.stat().st_size for path in notes.iterdir())
        return found

    def _run_once(self, folder: str, notes: Path, disturb: Callable[[psutil.Process], bool]) -> int:
        command = [sys.executable, "-m", "robustness.cli", "sweep", "study.yaml", "--out", folder]
        with (self.here / f"{folder}.log").open("ab") as log:
            environment = {**self.environment, "CHAOS_NOTES": str(notes)}
            driver = psutil.Popen(command, cwd=self.here, env=environment, stdout=log, stderr=log)
            tree: list[psutil.Process] = []
            killed = False
            while driver.poll() is None:
                tree = _below(driver) or tree
                killed |= disturb(driver)
                time.sleep(0.1)
            # Ray's agents try for a minute to tell a cluster that is gone that it is gone.
            _, stayed = psutil.wait_procs([process for process in tree if "Agent" not in _name(process)], timeout=60)
        if stayed:
            raise RuntimeError(f"processes stayed behind: {stayed}")
        if driver.returncode != 0 and not killed:
            said = (self.here / f"{folder}.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the driver ended with {driver.returncode}: {said}")
        return int(driver.returncode)


class _Killer:
    """Kills something after each of many random times, counted from when there is a worker to kill."""

    def __init__(self, draw: random.Random, mean_seconds: float, *, most: int) -> None:
        self.draw, self.mean_seconds, self.most = draw, mean_seconds, most
        self.kills: Counter[str] = Counter()
        self.victim, self.due = self._next(), None

    def __call__(self, driver: psutil.Process) -> bool:
        """Look, and kill if it is time."""
        if self.kills.total() >= self.most or not _of_kind(driver, "worker"):
            return False
        now = time.monotonic()
        if self.due is None:
            self.due = now + self.draw.expovariate(1 / self.mean_seconds)
        found = [driver] if self.victim == "driver" else _of_kind(driver, self.victim)
        if now < self.due or not found:
            return False
        with suppress(psutil.NoSuchProcess):
            self.draw.choice(found).kill()
            self.kills[self.victim] += 1
        self.victim, self.due = self._next(), None
        return True

    def _next(self) -> str:
        return self.draw.choices(list(KINDS), weights=list(KINDS.values()))[0]


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _of_kind(driver: psutil.Process, kind: str) -> list[psutil.Process]:
    found = []
    for process in _below(driver):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            title = " ".join(process.cmdline()[:1])
            if title.startswith(TITLES[kind]) or Path(title).name == TITLES[kind]:
                found.append(process)
    return found


def _study() -> dict[str, Any]:
    """Packs that train for several checkpoints, with one evaluation on the way."""
    return {
        "name": "chaos",
        "data": {"dataset": "digits"},
        "training": {"epochs": 30},
        "evaluation": {"probes": ["knn"], "every": 15},
        "seeds": 6,
        "axes": {"batch_size": {"values": [16, 64]}},
        "families": {
            "counted": {"temperature": {"low": 0.1, "high": 1.0, "scale": "log", "levels": 8}},
            "untrained": "default",
        },
        "resources": {"checkpoint_minutes": CHECKPOINT_SECONDS / 60},
        "pack": {"size": 8, "fuse": "always"},
        "analysis": {"outcome": "knn_top1"},
    }


def _compare(found: Round, folder: Path, expected: pd.DataFrame) -> None:
    """Count rows of the files themselves, so that no reader hides one."""
    raw = pd.concat([pd.read_parquet(path) for path in sorted((folder / "trials").glob("*.parquet"))])
    planned = set(read_plan(folder)["trial_id"])
    found.lost = len(planned - set(raw["trial_id"]))
    found.doubled = int(raw["trial_id"].duplicated().sum())
    rows = raw.drop_duplicates("trial_id").set_index("trial_id").reindex(expected.index)
    found.differing = sum(one != other for one, other in zip(_texts(rows), _texts(expected), strict=True))
    found.problems = verify(folder).problems


def _texts(rows: pd.DataFrame) -> Iterator[str]:
    """What came of each trial as text, in which equal means bit by bit equal, and NaN equals NaN."""
    for row in rows[["status", *OUTCOMES]].itertuples(index=False):
        yield repr([value.tolist() if hasattr(value, "tolist") else value for value in row])


def _line(found: Round, calm: Round) -> str:
    kills = ", ".join(f"{count} {kind}" for kind, count in sorted(found.kills.items()))
    verdict = f"{found.lost} lost, {found.doubled} doubled, {found.differing} differ"
    more = found.updates / calm.updates - 1
    return f"killed {kills}: {verdict}; {more:+.0%} updates, {found.starts} starts, {found.seconds:.0f} s"


@contextmanager
def _package(here: Path) -> Iterator[dict[str, str]]:
    """An installed package with a loss that counts; yields the environment in which it is found."""
    site = here / "site"
    info = site / "counted-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counted\nVersion: 1.0\n")
    entries = {"losses": "counted_loss:counted", "spaces": "counted_space:SPACE"}
    lines = [f"[robustness.{group}]\ncounted = {place}\n" for group, place in entries.items()]
    (info / "entry_points.txt").write_text("".join(lines))
    (site / "counted_loss.py").write_text(LOSS)
    (site / "counted_space.py").write_text(SPACE)
    known = os.environ.get("PYTHONPATH")
    path = f"{site}{os.pathsep}{known}" if known else str(site)
    yield {**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chaos.py", description="A study under random kills.")
    parser.add_argument("--kills", type=whole_number(at_least=1), default=100)
    parser.add_argument("--seconds", type=float, default=8.0, help="between two kills, in the mean; default: 8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
