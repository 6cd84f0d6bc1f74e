"""A study at the papers' scale on clusters of 10 to 1,000 GPUs that aren't there, driven by our own queue.

    python benchmarks/cluster_simulation.py [--gpus 10 100 1000] [--trials 100000] [--driver] [--acceptance]

`cluster_events.py` says what happens there. Packs are those of `dhel_kcl_cifar10` with as many seeds as it takes. One
takes its images over `--images-per-second`, an assumption, times a random factor whose spread was measured. `--driver`
measures on this machine what the real driver and the real queue cost at 2,000 Tune trials (some minutes).
"""

import argparse
import json
import math
import os
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from cluster_events import HOUR, Outcome, Simulation, World, reports_a_second
from loss_report import Target, targets_table
from options import whole_number, with_targets
from rich.console import Console
from rich.table import Table

from robustness.plan import images_per_update, in_order, num_updates, pack_costs, plan
from robustness.trial import Trial
from search_spaces import load_study, parse_study

STUDY = "dhel_kcl_cifar10"
IMAGES_PER_SECOND = 6000.0
"""Of one GPU that trains a ResNet-18 at 32 x 32 on two views: an assumption, about that of a current one."""
SPREAD = 0.1
"""Standard deviation of the logarithm of a pack's seconds among packs of the same work; .04 to .15 in stored sweeps."""
TUNE_TRIALS = 2000
CALLERS = 200


@dataclass(frozen=True)
class Load:
    """What the real driver takes of one core, and the real queue for each call, in seconds."""

    standing: float
    per_pack: float
    per_call: float

    def driver(self, packs_a_second: float) -> float:
        """Share of a core."""
        return self.standing + packs_a_second * self.per_pack

    def queue(self, calls_a_second: float) -> float:
        """Share of a core."""
        return calls_a_second * self.per_call


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulations and print their table.

    Returns:
        1 if acceptance was asked for and a target was missed, else 0.
    """
    options = _parser().parse_args(arguments)
    packs, seconds = work(options.trials, options.images_per_second, seed=options.seed)
    load = measured_load() if options.driver else None
    found = {}
    for gpus in options.gpus:
        world = World(gpus, preemptions=options.preemptions, notice=options.notice)
        killers = dict.fromkeys(list(packs)[:: max(len(packs) // options.killers, 1)][: options.killers], 0)
        found[gpus] = Simulation(packs, seconds, world, killers=killers, seed=options.seed).run()
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(found, load))
    if options.json is not None:
        rows = [{"gpus": gpus, **asdict(outcome), "stored": len(outcome.stored)} for gpus, outcome in found.items()]
        record = {"trials": sum(packs.values()), "load": None if load is None else asdict(load), "clusters": rows}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if not options.acceptance:
        return 0
    lines = targets(found, load)
    console.print(targets_table(lines))
    return int(any(line.verdict != "held" for line in lines))


def work(trials: int, images_per_second: float, *, seed: int) -> tuple[dict[str, int], dict[str, float]]:
    """Packs in the order in which a sweep hands them out, with their sizes, and the seconds that each takes."""
    planned = plan(load_study(STUDY))
    one_seed = planned[planned["seed"] == planned["seed"].iloc[0]]
    images = [_images(Trial.from_json(text)) for text in one_seed["trial"]]
    of_packs = one_seed.assign(images=images).groupby("pack_id")["images"].agg(["size", "sum"])
    order = [pack for pack in in_order(one_seed, pack_costs(one_seed, every=None)) if of_packs.loc[pack, "sum"] > 0]
    of_packs = of_packs.loc[order]
    copies = math.ceil(trials / of_packs["size"].sum())
    random = np.random.default_rng(seed)
    packs, seconds = {}, {}
    for pack, (size, count) in zip(order, of_packs.to_numpy(), strict=True):
        for copy in range(copies):
            packs[f"{copy}-{pack}"] = int(size)
            seconds[f"{copy}-{pack}"] = float(count / images_per_second * random.lognormal(0.0, SPREAD))
    return packs, seconds


def _images(trial: Trial) -> int:
    return images_per_update(trial) * num_updates(trial)


def targets(found: dict[int, Outcome], load: Load | None) -> list[Target]:
    """Every acceptance line, measured or not."""
    gpus, outcome = max(found.items())
    once = all(count == 1 for count in outcome.stored.values())
    rate = len(outcome.stored) / outcome.wall
    driver = math.nan if load is None else load.driver(rate)
    queue = math.nan if load is None else load.queue(reports_a_second(gpus) + 4 * rate)
    return [
        Target(f"utilisation while packs wait, {gpus:,} GPUs", outcome.utilisation_until_empty, 0.95, at_least=True),
        Target("every pack stored once", float(once), 1, at_least=True),
        Target("driver at 2,000 Tune trials, share of a core", driver, 0.5, at_least=False),
        Target("queue of packs, share of a core", queue, 0.5, at_least=False),
    ]


def table(found: dict[int, Outcome], load: Load | None) -> Table:
    """A row a cluster."""
    head = (
        "GPUs",
        "packs",
        "hours",
        "queue empty at",
        "used until then",
        "used to the end",
        "lost GPU-hours",
        "of all",
    )
    head += ("nodes lost", "crashes", "failed trials", "reports/s", "queue, of a core", "driver, of a core")
    shown = Table(*head)
    for column in shown.columns:
        column.justify = "right"
    for gpus, one in found.items():
        rate = len(one.stored) / one.wall
        costs = ("-", "-")
        if load is not None:
            costs = f"{load.queue(reports_a_second(gpus) + 4 * rate):.2f}", f"{load.driver(rate):.2f}"
        shown.add_row(
            f"{gpus:,}", f"{len(one.stored):,}", f"{one.wall / HOUR:,.1f}", f"{one.emptied_at / HOUR:,.1f}",
            f"{one.utilisation_until_empty:.2%}", f"{one.utilisation:.2%}", f"{one.lost / HOUR:,.1f}",
            f"{one.lost / one.useful:.3%}", f"{one.preemptions:,}", f"{one.crashes:,}", f"{one.failed:,}",
            f"{reports_a_second(gpus):,.0f}", *costs,
        )  # fmt: skip
    return shown


def measured_load() -> Load:
    """Of a real cluster on this machine: the driver while 2,000 Tune trials wait, and while packs of nothing end."""
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": os.cpu_count()})
    try:
        with _shares() as shares:
            _swept(cluster.address, updates=10**7, budget_hours=75 / HOUR)
        # The first seconds are the start, and the last ones the end.
        standing = statistics.median(shares[len(shares) // 2 : -10])
        before, begun = time.process_time(), time.monotonic()
        packs = _swept(cluster.address, updates=1)
        passed = time.monotonic() - begun
        per_pack = max(time.process_time() - before - standing * passed, 0.0) / packs
        return Load(standing, per_pack, _seconds_a_call(cluster.address))
    finally:
        cluster.shutdown()


def _swept(address: str, *, updates: int, budget_hours: float | None = None) -> int:
    from robustness.sweep import sweep

    study = parse_study(
        {
            "name": "driver",
            "data": {"dataset": "digits"},
            "model": {"projector": [8, 4]},
            "training": {"updates": updates},
            "evaluation": {"probes": [], "images": 16},
            "seeds": 20,
            "axes": {"batch_size": {"values": [16]}},
            "families": {"nt_xent": {"temperature": {"low": 0.01, "high": 10, "scale": "log", "levels": 100}}},
            "pack": {"size": 1},
            "analysis": {"outcome": "final_loss"},
        },
        "driver",
    )
    with tempfile.TemporaryDirectory(prefix="driver-") as name:
        return sweep(study, Path(name), address=address, budget_hours=budget_hours).trained


@contextmanager
def _shares() -> Iterator[list[float]]:
    """The share of a core that this process takes, second by second."""
    shares: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        before = time.process_time()
        while not ended.wait(1.0):
            after = time.process_time()
            shares.append(after - before)
            before = after

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield shares
    finally:
        ended.set()
        thread.join()


def _seconds_a_call(address: str) -> float:
    """Processor seconds of the queue's own process for a report of a worker, many of which ask at once."""
    import psutil
    import ray

    from robustness.sweep.queue import PackQueue

    class Queue(PackQueue):
        def pid(self) -> int:
            return os.getpid()

    ray.init(address, log_to_driver=False, logging_level="ERROR")
    try:
        queue = ray.remote(num_cpus=0)(Queue).remote({str(number): 1 for number in range(CALLERS)})
        workers = [f"{number}/0" for number in range(CALLERS)]
        ray.get([queue.take.remote(worker, "node") for worker in workers])
        process = psutil.Process(ray.get(queue.pid.remote()))
        before, rounds = sum(process.cpu_times()[:2]), 20
        for _ in range(rounds):
            ray.get([queue.advance.remote(worker, 0.5) for worker in workers])
        return (sum(process.cpu_times()[:2]) - before) / (rounds * CALLERS)
    finally:
        ray.shutdown()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=whole_number(at_least=1), nargs="+", default=[10, 100, 1000])
    parser.add_argument("--trials", type=whole_number(at_least=1), default=100_000)
    parser.add_argument("--images-per-second", type=float, default=IMAGES_PER_SECOND)
    parser.add_argument("--preemptions", type=float, default=0.01, help="of a node, an hour")
    parser.add_argument("--notice", type=float, default=0.5, help="the share of nodes that are told before they go")
    parser.add_argument("--killers", type=whole_number(at_least=1), default=5, help="trials that end their worker")
    parser.add_argument("--seed", type=whole_number(at_least=0), default=0)
    parser.add_argument("--driver", action="store_true", help="measure the real driver and queue, too")
    return with_targets(parser)


if __name__ == "__main__":
    sys.exit(main())
