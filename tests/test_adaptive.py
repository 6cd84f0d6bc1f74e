import math
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import yaml
from processes import kill_tree, start, wait_until
from studies_for_tests import TINY, changed, tiny

from robustness import store
from robustness.plan import check, extend, known_configurations, plan, suggested
from robustness.sweep import sweep
from robustness.sweep.adaptive.family import FamilySearch
from robustness.sweep.adaptive.outcomes import Floor, mean_outcome
from robustness.sweep.adaptive.referee import Referee, stored_standings
from robustness.sweep.adaptive.sampler import STARTUP_TRIALS, configuration_of, distribution, params_of
from robustness.sweep.adaptive.search import MOST_DEATHS, AdaptiveSearch
from robustness.sweep.rows import by_pack, history_rows, members_of, trial_rows
from robustness.trial import TrialResult
from search_spaces import Axis, Choice, Continuous, Integer, parse_study

FAMILIES = {
    "nt_xent": {"temperature": {"low": 0.1, "high": 1}},
    "dhel": {"temperature": {"values": [0.1, 0.5, 2]}, "learning_rate": {"low": 0.01, "high": 1}},
}


def adaptive(kind="tpe", configurations=12, **changes):
    design = {"kind": kind, "configurations": configurations}
    return tiny(design=design, **{"families": FAMILIES, **changes})


@pytest.fixture
def folder(tmp_path):
    return store.open_folder(tmp_path / "out")


def searching(study, folder, **options):
    """A search over the folder, which is made or extended as a sweep does."""
    if not folder.exists():
        store.prepare(folder)
        store.write_plan(folder, plan(study), study.written())
    planned = extend(folder, store.read_plan(folder), store.read_study(folder), study)
    store.write_plan(folder, planned, study.written())
    return AdaptiveSearch(study, folder, check(study), **options)


def rows_of(search, suggestion):
    family = search.study.families[suggestion["family"]]
    return suggested(search.study, search.data, family, [suggestion["configuration"]])


def score(row):
    return 0.9 - 0.1 * abs(math.log(row["temperature"] / 0.3)) - 0.001 * row["seed"]


def train(search, rows, result=lambda row: TrialResult("ok", outcomes={"linear_top1": score(row)})):
    """Store results as a worker does, and report what it reports."""
    outcome, planned, ended = search.study.analysis.outcome, by_pack(rows), []
    for pack in rows["pack_id"].unique():
        members = members_of(planned, pack)
        results = [result(row) for row in members]
        store.write_pack(search.folder, pack, trial_rows(members, results), history_rows(members, results))
        ended += [(result.status, result.outcomes.get(outcome)) for result in results]
    failed = sum(status not in ("ok", "stopped") for status, _ in ended)
    return {"ended": len(rows), "failed": failed, "left": 0, "outcome": mean_outcome(ended) or 0.0, "message": ""}


def drive(search, most=10_000, **options):
    """Suggest and train one configuration after another."""
    made = []
    while len(made) < most and (suggestion := search.suggest(f"t{len(made)}")) != "FINISHED":
        search.on_trial_complete(f"t{len(made)}", train(search, rows_of(search, suggestion), **options))
        made.append(suggestion)
    return made


def told(monkeypatch):
    """What samplers are told, in their order: label and outcome."""
    found = []
    for name in ("tell", "learn"):
        original = getattr(FamilySearch, name)

        def spy(self, what, outcome, original=original):
            found.append((self.family.label, outcome))
            original(self, what, outcome)

        monkeypatch.setattr(FamilySearch, name, spy)
    return found


DIMENSIONS = [
    Continuous(0.1, 1.0),
    Continuous(0.125, 32.0, "log2"),
    Continuous(1e-6, 1e-2, "log"),
    Integer(2, 9),
    Integer(1, 64, "log"),
    Choice((16, 64, 256), "log2"),
    Choice((0.1, 0.5), "linear"),
    Choice(("shuffled", "ordered")),
]


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=repr)
def test_values_are_parameters_of_their_distribution_and_back(dimension):
    axes = [Axis("a", dimension, ())]
    for point in np.linspace(0, 1, 33):
        value = dimension.value(float(point))
        params = params_of(axes, {"a": value})
        assert distribution(dimension)._contains(distribution(dimension).to_internal_repr(params["a"]))
        assert configuration_of(axes, params) == {"a": value}


def test_a_scale_is_the_samplers_too():
    logs = [getattr(distribution(dimension), "log", False) for dimension in DIMENSIONS]
    assert logs == [False, True, True, False, True, False, False, False]


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_every_suggestion_lies_on_the_axes_and_is_planned_before_it_runs(kind, folder):
    study = adaptive(kind, configurations=STARTUP_TRIALS + 2)
    search = searching(study, folder)
    while (suggestion := search.suggest("t")) != "FINISHED":
        rows = rows_of(search, suggestion)
        planned = store.read_plan(folder)
        assert set(rows["trial_id"]) <= set(planned["trial_id"])
        assert set(rows["design"]) == {kind}
        assert rows["pack_id"].nunique() == len(study.seeds)
        search.on_trial_complete("t", train(search, rows))
    known = known_configurations(study, store.read_plan(folder))
    assert Counter(one.family for one in known) == {"nt_xent": STARTUP_TRIALS + 2, "dhel": STARTUP_TRIALS + 2}
    for row in store.read_plan(folder).itertuples():
        assert row.batch_size in (64, 256)
        assert 0.1 <= row.temperature <= 1 or (row.family == "dhel" and row.temperature == 2)


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_an_interrupted_search_suggests_what_an_uninterrupted_one_does(kind, folder, tmp_path):
    study, other = adaptive(kind, configurations=STARTUP_TRIALS + 2, seeds=1), store.open_folder(tmp_path / "other")
    whole = drive(searching(study, folder))
    parts = drive(searching(study, other), most=3) + drive(searching(study, other), most=18)
    assert parts + drive(searching(study, other)) == whole
    assert drive(searching(study, folder)) == []


def test_seeds_and_families_have_suggestions_of_their_own(folder, tmp_path):
    study = adaptive(families={"nt_xent": FAMILIES["nt_xent"], "dhel": FAMILIES["nt_xent"]}, configurations=3)
    made = drive(searching(study, folder))
    assert len({repr(suggestion["configuration"]) for suggestion in made}) == 6
    seeded = changed(study.written(), {"design.seed": 1})
    assert drive(searching(parse_study(seeded, "x"), store.open_folder(tmp_path / "other"))) != made


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_a_model_suggests_values_near_those_that_scored_well(kind, folder):
    drive(searching(adaptive(kind, families={"nt_xent": FAMILIES["nt_xent"]}, seeds=1, configurations=25), folder))
    temperatures = store.read_plan(folder)["temperature"].to_numpy()
    # At random 0.58 on average.
    assert np.abs(np.log(temperatures[STARTUP_TRIALS:] / 0.3)).mean() < 0.45


def test_families_take_turns(folder):
    made = drive(searching(adaptive(configurations=3), folder))
    assert [suggestion["family"] for suggestion in made] == ["nt_xent", "dhel"] * 3


def test_what_is_told_is_the_mean_over_seeds_and_a_failed_one_is_told_at_chance(folder, monkeypatch):
    found = told(monkeypatch)
    search = searching(adaptive(configurations=1), folder)

    def second_fails(row):
        if row["family"] == "dhel" and row["seed"] == 1:
            return TrialResult("diverged", "the loss was not finite")
        return TrialResult("ok", outcomes={"linear_top1": 0.5 + 0.2 * row["seed"]})

    drive(search, result=second_fails)
    assert found == [("nt_xent", pytest.approx(0.6)), ("dhel", 0.1)]
    found.clear()
    searching(adaptive(configurations=2), folder)
    assert found == [("nt_xent", pytest.approx(0.6)), ("dhel", 0.1)]


def test_a_declared_floor_counts_and_without_one_it_is_the_worst_mean_so_far():
    study = adaptive(analysis={"outcome": "final_loss"})
    floor = Floor(study, check(study))
    assert floor.value is None
    for outcome in (2.0, 5.0, 3.0):
        floor.see(outcome)
    assert floor.value == 5.0
    declared = adaptive(analysis={"outcome": "final_loss", "floor": 9})
    assert Floor(declared, check(declared)).value == 9
    two = adaptive(data={"dataset": ["digits", "cifar100"]})
    assert Floor(two, check(two)).value == pytest.approx((1 / 10 + 1 / 100) / 2)


def test_failures_before_any_success_are_told_once_the_floor_is_known(folder, monkeypatch):
    found = told(monkeypatch)
    search = searching(adaptive(configurations=2, analysis={"outcome": "final_loss"}), folder)
    failed = TrialResult("error", "no")
    drive(search, most=2, result=lambda row: failed)
    assert found == []
    drive(search, result=lambda row: TrialResult("ok", outcomes={"final_loss": 4.0}))
    assert found == [("nt_xent", 4.0), ("dhel", 4.0), ("nt_xent", 4.0), ("dhel", 4.0)]


@pytest.mark.parametrize(
    ("trials", "mean"),
    [
        ([("ok", 0.5), ("ok", 0.7)], 0.6),
        ([("ok", 0.5), ("error", None)], None),
        ([("ok", 0.5), ("timeout", 0.7)], None),
        ([("ok", None)], None),
        ([("ok", math.inf), ("ok", 1.0)], None),
        ([("ok", 0.5), ("stopped", 0.3), ("stopped", None)], 0.4),
        ([("stopped", None)], None),
    ],
)
def test_a_mean_is_of_all_trials_that_reached_something_and_of_none_where_one_failed(trials, mean):
    assert mean_outcome(trials) == (None if mean is None else pytest.approx(mean))


FEW = {"nt_xent": {"temperature": {"values": [0.1, 0.5]}}}
"""Four configurations with the two batch sizes."""


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_a_repeated_suggestion_counts_and_is_not_run_again(kind, folder, monkeypatch):
    study = adaptive(kind, families=FEW, configurations=14)
    found = told(monkeypatch)
    made = drive(searching(study, folder))
    assert len(made) <= 4
    assert len(store.read_plan(folder)) == 2 * len(made)
    assert len(found) == 14
    assert len({outcome for _, outcome in found}) <= len(made)
    assert searching(study, folder).num_left == 0


def test_a_repeat_of_what_is_running_is_told_when_that_ends(folder, monkeypatch):
    search, found = searching(adaptive(families=FEW, configurations=14), folder), told(monkeypatch)
    running = {}
    while (suggestion := search.suggest(f"t{len(running)}")) != "FINISHED":
        running[f"t{len(running)}"] = suggestion
    assert found == []
    for name, suggestion in running.items():
        search.on_trial_complete(name, train(search, rows_of(search, suggestion)))
    assert len(found) == 14
    assert search.untold == []


def test_more_configurations_go_on_and_fewer_are_refused(folder):
    drive(searching(adaptive(configurations=2), folder))
    before = store.read_plan(folder)
    assert len(drive(searching(adaptive(configurations=3), folder))) == 2
    pd.testing.assert_frame_equal(store.read_plan(folder).iloc[: len(before)], before)
    with pytest.raises(ValueError, match=r"design.configurations 3 -> 1 drops 8 trials"):
        searching(adaptive(configurations=1), folder)


def test_more_seeds_are_planned_for_what_was_suggested(folder):
    drive(searching(adaptive(configurations=2), folder))
    search = searching(adaptive(configurations=2, seeds=3), folder)
    planned = store.read_plan(folder)
    assert planned.groupby("family")["seed"].value_counts().eq(2).all()
    assert search.num_left == 0


def test_two_sweeps_of_a_folder_lose_no_suggestion_and_count_each_others(folder):
    study = adaptive(configurations=4)
    searches = [searching(study, folder), searching(study, folder)]
    made = []
    for turn in range(20):
        search = searches[turn % 2]
        suggestion = search.suggest(f"t{turn}")
        if suggestion != "FINISHED":
            made.append(set(rows_of(search, suggestion)["trial_id"]))
            search.on_trial_complete(f"t{turn}", train(search, rows_of(search, suggestion)))
    assert set().union(*made) == set(store.read_plan(folder)["trial_id"])
    assert sum(map(len, made)) == len(set().union(*made)) <= 16


def test_a_configuration_of_two_families_is_one(folder):
    families = {"a": {"loss": "dhel", **FEW["nt_xent"]}, "b": {"loss": "dhel", **FEW["nt_xent"]}}
    drive(searching(adaptive(families=families, configurations=8), folder))
    assert store.read_plan(folder)["trial_id"].is_unique
    assert len(store.read_plan(folder)) <= 8


def test_a_limit_ends_the_search_and_the_next_goes_on(folder):
    study = adaptive(configurations=2)
    assert len(drive(searching(study, folder, most=3))) == 3
    assert len(drive(searching(study, folder))) == 1


def test_an_interrupted_configuration_is_told_to_nobody_and_deaths_in_a_row_end_the_search(folder, monkeypatch):
    found = told(monkeypatch)
    search = searching(adaptive(configurations=4), folder)
    search.suggest("interrupted")
    search.on_trial_complete("interrupted", {"done": True})
    assert found == []
    for number in range(MOST_DEATHS):
        search.suggest(f"t{number}")
        search.on_trial_complete(f"t{number}", error=True)
    assert found == [("dhel", 0.1), ("nt_xent", 0.1), ("dhel", 0.1)]
    assert search.suggest("t") == "FINISHED"
    assert "in a row" in search.stop_reason


def test_a_worker_that_can_not_store_ends_the_search(folder):
    search = searching(adaptive(configurations=4), folder)
    search.suggest("t")
    search.on_trial_complete("t", {"left": 2, "stop_reason": "can't store results: disk full"})
    assert search.suggest("u") == "FINISHED"
    assert search.stop_reason == "can't store results: disk full"


@pytest.mark.parametrize("mode", ["max", "min"])
def test_asha_lets_the_best_quarter_go_on(mode):
    referee, sign = Referee(mode, most_evaluations=8), 1 if mode == "max" else -1
    poor = [referee.is_poor(str(number), (1, sign * outcome)) for number, outcome in enumerate([3, 1, 4, 2, 5, 3])]
    assert poor == [False, True, False, True, False, True]
    assert not referee.is_poor("0", (2, -sign * 100.0))
    assert [referee.is_poor(name, (4, sign * outcome)) for name, outcome in (("2", 6), ("4", 5))] == [False, True]


ASHA = {
    "evaluation": {"every": 1, "probes": ["knn"]},
    "training": {"epochs": 4},
    "analysis": {"outcome": "final_loss"},
}


def test_a_referee_remembers_how_stored_configurations_stood(folder):
    study = parse_study(changed(adaptive(configurations=2, **ASHA).written(), {"design.scheduler": "asha"}), "x")

    def result(row):
        steps = 1024 // row["batch_size"]
        if row["family"] == "dhel":
            return TrialResult(
                "stopped", "poor", 1.0, steps, history=({"epoch": 1.0, "updates": steps, "final_loss": 9.0},)
            )
        history = tuple({"epoch": k, "updates": k * steps, "final_loss": 5.0 - k} for k in (1.0, 2.0, 3.0, 4.0))
        return TrialResult("ok", None, 4.0, 4 * steps, outcomes={"final_loss": 1.0}, history=history)

    drive(searching(study, folder), most=2, result=result)
    planned = store.read_plan(folder)
    first, second = known_configurations(study, planned)
    found = list(stored_standings(study, folder, planned, [first, second]))
    assert found == [
        *((first.trial_ids[0], (k, 5.0 - k)) for k in (1, 2, 3)),
        *((first.trial_ids[0], (4 + k, (1 + 5.0 - k) / 2)) for k in (1, 2, 3)),
        (second.trial_ids[0], (1, 9.0)),
        (second.trial_ids[0], (5, 9.0)),
    ]


SWEPT = {
    "design": {"kind": "tpe", "configurations": 4},
    "training": {"epochs": 2, "momentum": 0},
    "evaluation": {"probes": ["knn"]},
    "analysis": {"outcome": "knn_top1"},
    "families": {
        "nt_xent": {"temperature": {"low": 0.1, "high": 1}},
        "dhel": {"temperature": {"low": 0.1, "high": 1}, "learning_rate": {"values": [0.1, 1e30]}},
    },
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A study with diverging trials, swept without interruption."""
    folder = store.open_folder(tmp_path_factory.mktemp("swept") / "out")
    return folder, sweep(tiny(**SWEPT), folder)


def configurations(folder):
    return known_configurations(tiny(**SWEPT), store.read_plan(folder))


def test_every_family_has_its_configurations_and_each_trial_is_stored_once(swept):
    folder, summary = swept
    planned, stored = store.read_plan(folder), store.read(folder)
    assert sorted(planned["trial_id"]) == sorted(stored["trial_id"])
    assert Counter(one.family for one in configurations(folder)) == {"nt_xent": 4, "dhel": 4}
    assert set(stored["design"]) == {"tpe"}
    assert (summary.planned, summary.trained, summary.left) == (16, 16, 0)
    assert summary.failed == (stored["status"] == "diverged").sum() == (stored["learning_rate"] == 1e30).sum() > 0


def test_the_same_study_again_trains_nothing(swept):
    folder, _ = swept
    assert sweep(tiny(**SWEPT), folder).trained == 0


@pytest.mark.skipif(sys.platform != "linux", reason="walks /proc")
def test_a_sweep_killed_in_mid_way_goes_on_with_the_same_configurations_and_runs_nothing_twice(swept, tmp_path):
    path, folder = tmp_path / "study.yaml", store.open_folder(tmp_path / "out")
    path.write_text(yaml.safe_dump(changed(TINY, SWEPT), sort_keys=False))
    process = start("sweep", path, "--out", folder, cwd=tmp_path)
    wait_until(lambda: folder.exists() and len(store.stored_packs(folder)) >= 3, process, seconds=240)
    kill_tree(process)
    before = store.read(folder).set_index("trial_id")
    assert 3 <= len(before) < 16
    summary = sweep(tiny(**SWEPT), folder)
    after = store.read(folder).set_index("trial_id")
    assert (summary.planned, summary.trained) == (16, 16 - len(before))
    assert sorted(after.index) == sorted(store.read_plan(folder)["trial_id"])
    pd.testing.assert_frame_equal(after.loc[before.index], before, check_exact=True)
    assert configurations(folder) == configurations(swept[0])


def test_asha_stops_poor_trials_which_are_rows_with_what_they_had_reached(tmp_path, monkeypatch):
    # One worker, so that it is always the same ones that are stopped.
    monkeypatch.setattr("robustness.sweep.cluster.MOST_WORKERS", 1)
    design = {"kind": "tpe", "configurations": 6, "scheduler": "asha"}
    study = tiny(design=design, families={"nt_xent": {"temperature": {"low": 0.1, "high": 1}}}, **ASHA)
    folder = store.open_folder(tmp_path / "out")
    summary = sweep(study, folder)
    stored, history = store.read(folder).set_index("trial_id"), store.read_history(folder)
    stopped = stored[stored["status"] == "stopped"]
    assert len(stopped) > 0
    assert (summary.planned, summary.failed, summary.left) == (12, 0, 0)
    assert sorted(stored.index) == sorted(store.read_plan(folder)["trial_id"])
    assert stopped[list(store.OUTCOMES)].isna().all(axis=None)
    assert stopped["error"].str.contains("asha").all()
    assert (stopped["updates"] == stopped["epochs"] * (1024 // stopped["batch_size"])).all()
    assert (stopped["images"] == stopped["updates"] * stopped["batch_size"]).all()
    assert (stopped["epochs"] < 4).all()
    rows = history.groupby("trial_id").size().reindex(stored.index, fill_value=0)
    assert (rows == stored["epochs"]).all()
    for one in known_configurations(study, store.read_plan(folder)):
        epochs = list(stored.loc[list(one.trial_ids), "epochs"])
        assert epochs == sorted(epochs, reverse=True)


def test_workers_move_from_machines_that_leave_and_stay_elsewhere():
    referee = Referee("max", most_evaluations=8)
    referee.leave({"spot"})
    assert (referee.goes_on("spot"), referee.moves("spot")) == (False, True)
    assert (referee.goes_on("other"), referee.moves("other")) == (True, False)
    referee.end()
    assert (referee.goes_on("other"), referee.moves("spot")) == (False, False)
