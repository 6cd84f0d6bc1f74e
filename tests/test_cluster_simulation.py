"""Laws of the simulated cluster, and that our queue keeps its word on it."""

import math
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from cluster_events import HOUR, Simulation, World, reports_a_second
from cluster_simulation import Load, targets, work

CALM = {"preemptions": 0.0, "crashes": 0.0, "start": 0.0, "between": 0.0}
WILD = {"preemptions": 0.5, "crashes": 0.5, "replaced_after": 600.0}


def packs_of(count, *, seconds=2 * HOUR, size=4):
    names = [f"pack{number}" for number in range(count)]
    return dict.fromkeys(names, size), {name: seconds * (1 - number / (4 * count)) for number, name in enumerate(names)}


def run(count=40, *, gpus=8, killers=None, seed=0, **world):
    packs, seconds = packs_of(count)
    return Simulation(packs, seconds, World(gpus, gpus_per_node=4, **world), killers=killers, seed=seed).run(), seconds


def test_where_nothing_happens_every_gpu_works_and_the_end_is_that_of_list_scheduling():
    outcome, seconds = run(**CALM)
    total = sum(seconds.values())
    assert outcome.utilisation_until_empty == pytest.approx(1)
    assert outcome.useful == pytest.approx(total)
    assert total / 8 <= outcome.wall <= total / 8 + max(seconds.values())
    assert (outcome.lost, outcome.preemptions, outcome.crashes, outcome.failed) == (0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_every_pack_is_stored_once_and_no_work_is_made_up(seed):
    outcome, seconds = run(seed=seed, **WILD)
    assert set(outcome.stored) == set(seconds)
    assert set(outcome.stored.values()) == {1}
    assert outcome.preemptions > 3
    assert outcome.crashes > 3
    # What is useful is the work there was, as nothing is trained twice but what was lost.
    assert outcome.useful == pytest.approx(sum(seconds.values()), rel=0.02)
    assert outcome.useful + outcome.lost <= outcome.offered


def test_with_notice_nothing_is_lost_and_without_at_most_a_checkpoint_of_each_worker():
    told, _ = run(preemptions=0.5, notice=1.0, crashes=0.0)
    assert told.preemptions > 3
    assert told.lost == 0
    untold, _ = run(preemptions=0.5, notice=0.0, crashes=0.0, checkpoint=300.0)
    assert 0 < untold.lost <= untold.preemptions * 4 * 300


def test_trials_that_kill_are_the_ones_that_fail():
    outcome, _ = run(killers={"pack3": 1, "pack17": 0}, **CALM | {"crashes": 0.0})
    assert outcome.failed == 2
    assert set(outcome.stored.values()) == {1}


def test_the_same_seed_is_the_same_story():
    one, other, third = (run(seed=seed, **WILD)[0] for seed in (1, 1, 2))
    assert (one.wall, one.lost, one.crashes) == (other.wall, other.lost, other.crashes)
    assert one.wall != third.wall


def test_work_is_that_of_the_papers_study():
    packs, seconds = work(3000, 1000.0, seed=0)
    assert sum(packs.values()) >= 3000
    assert packs.keys() == seconds.keys()
    per_trial = [seconds[pack] * 1000.0 / packs[pack] for pack in packs]
    # 200 epochs of 50,000 images, in whole batches.
    assert sorted(per_trial)[len(per_trial) // 2] == pytest.approx(1e7, rel=0.02)
    assert set(packs.values()) == {7}


def test_targets_are_missed_where_they_are():
    outcome, _ = run(**CALM)
    fine = targets({8: outcome}, Load(0.1, 0.001, 0.0005))
    assert [line.verdict for line in fine] == ["held"] * 4
    assert targets({8: outcome}, None)[2].verdict == "not measured"
    assert targets({8: outcome}, Load(0.6, 0.0, 0.0))[2].verdict == "not held"
    outcome.stored["pack0"] = 2
    outcome.useful_until_empty = 0.9 * outcome.offered_until_empty
    assert [line.verdict for line in targets({8: outcome}, None)[:2]] == ["not held"] * 2
    assert not math.isnan(outcome.wall)


def test_reports_of_many_workers_are_bounded():
    assert [reports_a_second(count) for count in (10, 250, 1000, 2000)] == [10, 250, 250, 500]
