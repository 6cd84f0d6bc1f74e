"""How long a study takes, and what of it fits into a budget."""

import re

import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from processes import command_fixture, robustness  # noqa: F401
from studies_for_tests import TINY, changed

from robustness.plan import ends, in_order, pack_costs, plan
from robustness.training import measure as measuring
from robustness.training.measure import MOST_UPDATES, measure
from robustness.trial import Trial
from search_spaces import load_study

SECONDS = st.lists(st.integers(1, 50).map(float), min_size=1, max_size=30)


@given(SECONDS, st.integers(1, 5))
def test_packs_end_as_if_the_next_went_to_who_is_free_first(seconds, workers):
    clock, free, running, expected = 0.0, workers, [], []
    for each in seconds:
        while not free:
            clock = min(running)
            running.remove(clock)
            free += 1
        running.append(clock + each)
        expected.append(clock + each)
        free -= 1
    assert ends(seconds, workers=workers) == expected
    assert max(expected) >= max(max(seconds), sum(seconds) / workers)


def test_the_dear_go_first_and_with_a_budget_the_seeds_one_after_another():
    planned = pd.DataFrame({"pack_id": ["a", "b", "b", "c", "d"], "seed": [5, 0, 0, 5, 0]})
    costs = {"a": 3.0, "b": 2.0, "c": 4.0, "d": 2.0}
    assert in_order(planned, costs) == ["c", "a", "b", "d"]
    assert in_order(planned, costs, by_seed=True) == ["b", "d", "c", "a"]


@pytest.fixture
def study(tmp_path):
    """The path of a small study, and a function that changes it."""

    def write(**changes):
        path = tmp_path / "tiny.yaml"
        path.write_text(
            yaml.safe_dump(changed(TINY, {name.replace("__", "."): value for name, value in changes.items()}))
        )
        return path

    return write


def trials_of(path):
    planned = plan(load_study(path))
    first = planned[(planned["pack_id"] == planned["pack_id"].iloc[0]) & (planned["family"] != "untrained")]
    return [Trial.from_json(text) for text in first["trial"]]


@pytest.mark.parametrize("data", [{"dataset": "digits"}, {"dataset": "cifar10"}, {"dataset": "pairs", "num_pairs": 8}])
def test_updates_are_measured_without_images(study, data, monkeypatch):
    free = {"model": {"encoder": "table", "projector": [4]}, "axes": {"batch_size": 4}} if "num_pairs" in data else {}
    outcome = {"evaluation": {"probes": []}, "analysis": {"outcome": "final_loss"}}
    trials = trials_of(study(data=data, families__untrained=None, **free, **outcome))
    ticks = iter(range(1000))
    monkeypatch.setattr(measuring, "perf_counter", lambda: 0.01 * next(ticks))
    found = measure(trials, device=torch.device("cpu"))
    # A tick an update, of all members.
    assert found.members == len(trials) > 1
    assert found.seconds == pytest.approx(0.01 / len(trials))
    images = trials[0].training["batch_size"]
    assert found.images_per_second == pytest.approx(images * len(trials) / 0.01)
    assert next(ticks) == MOST_UPDATES + 1


def test_slow_updates_are_few(study, monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(measuring, "perf_counter", lambda: 10.0 * next(ticks))
    measure(trials_of(study(families__untrained=None)), device=torch.device("cpu"))
    assert next(ticks) == 2


def test_a_plan_tells_when_workers_are_done_and_what_fits(command, study):
    path = study(seeds=3)
    plain = command("plan", path)
    assert plain.returncode == 0
    assert "core-hours on a current CPU, by a rule of thumb" in plain.stdout
    assert "done after" not in plain.stdout
    costs = pack_costs(plan(load_study(path)), every=None)
    enough = command("plan", path, "--workers", 2, "--budget-hours", sum(costs.values()) / 3600)
    count = len(plan(load_study(path)))
    assert "2 workers done after about " in enough.stdout
    assert f"{count} of {count} trials, 3 of 3 seeds whole" in enough.stdout
    third = command("plan", path, "--budget-hours", 1.01 * sum(costs.values()) / 3 / 3600)
    fits, whole = re.search(rf"h: (\d+) of {count} trials, (\d) of 3 seeds whole", third.stdout).groups()
    assert (int(fits), int(whole)) == (count // 3, 1)


def test_a_plan_measures(command, study):
    done = command("plan", study(), "--measure")
    assert done.returncode == 0, done.stderr
    assert "core-hours measured on cpu: " in done.stdout
    assert "images a second" in done.stdout
    with_gpu = command("plan", study(resources={"gpus_per_pack": 0.5}))
    assert "its packs take GPUs: --measure on a machine with one" in with_gpu.stdout


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf"])
@pytest.mark.parametrize("name", ["plan", "sweep"])
def test_a_budget_is_a_positive_number_of_hours(command, study, name, hours):
    done = command(name, study(), "--budget-hours", hours)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--budget-hours: expected a positive number of hours" in done.stderr


def test_a_sweep_ends_with_its_budget_and_saves_what_runs(study, tmp_path):
    path = study(training={"updates": 30000}, pack={"size": 2}, seeds=2, families__untrained=None)
    arguments = ("sweep", path, "--out", "out")
    done = robustness(*arguments, "--budget-hours", "0.01", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the budget is spent: packs save where they are" in done.stderr
    left = int(re.search(r"([\d,]+) left; results", done.stdout)[1].replace(",", ""))
    assert left > 0
    running = {path.parent.name for path in (tmp_path / "out" / "checkpoints").glob("*/*")}
    planned = plan(load_study(path))
    assert set(planned.loc[planned["pack_id"].isin(running), "seed"]) == {0}
