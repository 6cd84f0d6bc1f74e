import itertools
import json
import os
import sys
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from fake_store import outcomes, planned_rows, small_study, trial_and_history, write_store

from robustness import store
from robustness.cli import main
from robustness.durations import duration
from robustness.status import running_packs, standing

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AXES = ("batch_size", "temperature", "bandwidth")


def fails(row):
    """The setting with the best mean fails at one of its seeds."""
    return row["seed"] == 1 and 0.1 < (row["temperature"] or 0) < 1


def half(row):
    """Whether a row is stored: whole packs, of some seeds more than of others."""
    return row["seed"] == 0 or (row["seed"] == 1 and row["batch_size"] == 16)


def packs_of(rows):
    return list(dict.fromkeys(row["pack_id"] for row in rows))


def finish(folder, rows, ends):
    """Store the rows of some packs as of the given times."""
    for pack, end in ends.items():
        members = [
            {**trial_and_history(row, failed=False)[0], "finished_at": end} for row in rows if row["pack_id"] == pack
        ]
        store.write_pack(folder, pack, members, [])


def planned_folder(folder):
    study = small_study()
    rows = planned_rows(study)
    store.prepare(folder)
    store.write_plan(folder, pd.DataFrame(rows), study.written())
    return rows


@pytest.mark.parametrize("keep", [half, lambda row: True, lambda row: False], ids=["half", "all", "none"])
def test_counts_are_those_of_the_rows(tmp_path, keep):
    study = small_study()
    found = standing(write_store(tmp_path, study, fails=fails, keep=keep))
    rows = planned_rows(study)
    assert [each.family for each in found.families] == list(study.families)
    for each in found.families:
        own = [row for row in rows if row["family"] == each.family]
        done = [row for row in own if keep(row)]
        diverged = sum(1 for row in done if row["loss"] != "untrained" and fails(row))
        assert (each.done, each.left, each.running) == (len(done), len(own) - len(done), 0)
        assert each.failed == ({"diverged": diverged} if diverged else {})
    assert found.total.done + found.total.left == len(rows)
    assert sum(found.total.failed.values()) == sum(sum(each.failed.values()) for each in found.families)


def test_the_best_configuration_has_the_fewest_failed_seeds_and_then_the_best_mean(tmp_path):
    study = small_study()
    found = standing(write_store(tmp_path, study, fails=fails))
    expected = {}
    for (family, *values), own in itertools.groupby(sorted(planned_rows(study), key=key), key):
        own = list(own)
        good = [outcomes(row)["linear_top1"] for row in own if row["loss"] == "untrained" or not fails(row)]
        if good:
            candidate = (len(good) - len(own), sum(good) / len(good), len(good), values)
            expected[family] = max(expected.get(family, candidate), candidate)
    assert {best.family for best in found.best} == set(expected)
    for best in found.best:
        _, mean, seeds, values = expected[best.family]
        assert (best.dataset, best.seeds, best.mean) == ("digits", seeds, pytest.approx(mean))
        settings = {name: value for name, value in zip(AXES, values, strict=True) if value != -1}
        assert best.configuration == settings


def key(row):
    return (row["family"], *(-1 if row[name] is None else row[name] for name in AXES))


def test_a_better_loss_is_a_smaller_one(tmp_path):
    up, down = (
        {best.family: best.mean for best in standing(write_store(tmp_path / name, small_study(analysis=wish))).best}
        for name, wish in {
            "up": {"outcome": "final_loss", "direction": "maximize"},
            "down": {"outcome": "final_loss"},
        }.items()
    )
    assert all(down[family] < up[family] for family in ("nt_xent", "kcl_gaussian"))


def test_a_pack_runs_while_its_checkpoint_is_young_and_it_is_not_stored(tmp_path):
    rows = planned_folder(tmp_path)
    stored, young, old, *_ = packs = packs_of(rows)
    finish(tmp_path, rows, {stored: NOW})
    for pack, minutes in {stored: 0, young: 9, old: 11}.items():
        path = tmp_path / "checkpoints" / pack / "checkpoint.pt"
        path.parent.mkdir(parents=True)
        path.touch()
        time = datetime.now().timestamp() - 60 * minutes
        os.utime(path, (time, time))
    (tmp_path / "checkpoints" / packs[3]).mkdir()
    (tmp_path / "checkpoints" / packs[3] / "checkpoint.pt").symlink_to("gone")
    assert running_packs(tmp_path, seconds=600) == {stored, young}
    assert standing(tmp_path).total.running == sum(row["pack_id"] == young for row in rows)


def test_a_study_that_saves_more_rarely_runs_that_much_longer(tmp_path):
    study = small_study(resources={"checkpoint_minutes": 30})
    rows = planned_rows(study)
    store.prepare(tmp_path)
    store.write_plan(tmp_path, pd.DataFrame(rows), study.written())
    path = tmp_path / "checkpoints" / rows[0]["pack_id"] / "checkpoint.pt"
    path.parent.mkdir(parents=True)
    path.touch()
    time = datetime.now().timestamp() - 60 * 20
    os.utime(path, (time, time))
    assert standing(tmp_path).total.running > 0


def test_the_rate_is_that_of_the_trials_between_the_ends_of_the_latest_packs(tmp_path):
    rows = planned_folder(tmp_path)
    packs = packs_of(rows)
    ends = {pack: NOW + timedelta(minutes=5 * place) for place, pack in enumerate(packs[:4])}
    finish(tmp_path, rows, ends)
    found = standing(tmp_path)
    counted = sum(row["pack_id"] in packs[1:4] for row in rows)
    left = sum(row["pack_id"] not in packs[:4] for row in rows)
    assert found.trials_per_minute == pytest.approx(counted / 15)
    assert found.seconds_left == pytest.approx(60 * 15 * left / counted)
    assert found.last_stored == max(ends.values())


def test_there_is_no_rate_before_two_packs_and_nothing_left_after_the_last(tmp_path):
    rows = planned_folder(tmp_path)
    first, *others = packs_of(rows)
    finish(tmp_path, rows, {first: NOW})
    found = standing(tmp_path)
    assert (found.trials_per_minute, found.seconds_left) == (None, None)
    finish(tmp_path, rows, dict.fromkeys(others, NOW + timedelta(minutes=1)))
    assert standing(tmp_path).seconds_left == 0


def test_of_an_adaptive_design_trials_are_left_that_are_not_planned_yet(tmp_path):
    study = small_study(design={"kind": "tpe", "configurations": 8})
    rows = [row for row in planned_rows(study) if row["seed"] == 0]
    store.prepare(tmp_path)
    store.write_plan(tmp_path, pd.DataFrame(rows), study.written())
    found = standing(tmp_path)
    assert found.adaptive
    assert {each.family: each.left for each in found.families} == {"nt_xent": 24, "kcl_gaussian": 24, "untrained": 3}


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["robustness", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    return capsys.readouterr().out


def test_json_says_the_same_as_the_tables(tmp_path, monkeypatch, capsys):
    folder = write_store(tmp_path, small_study(), fails=fails, keep=half)
    plain = json.loads(run(monkeypatch, capsys, "status", folder, "--json"))
    assert plain == json.loads(json.dumps(standing(folder).plain()))
    text = run(monkeypatch, capsys, "status", folder)
    total = plain["total"]
    assert f"{total['done']} of {total['done'] + total['left']} trials stored, {total['left']} left" in text
    for each in (*plain["families"], *plain["best"]):
        assert each["family"] in text
    for best in plain["best"]:
        assert f"{100 * best['mean']:.1f}" in text


def test_a_duration_has_one_or_two_units():
    spelled = {0: "0 s", 89: "89 s", 90: "2 min", 5340: "89 min", 12_000: "3 h 20 min", 187_200: "2 d 4 h"}
    assert {seconds: duration(seconds) for seconds in spelled} == spelled
