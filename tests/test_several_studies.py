"""Several studies in one report: what is pooled, what stands side by side, what settings are worth elsewhere."""

import json
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from fake_store import small_study, write_store
from processes import command_fixture  # noqa: F401

from analysis.report import write, write_all
from analysis.report.transferred import transfer_passage
from analysis.table.pooling import difference, pooled, relations
from analysis.table.store import from_store, read_stored, table_of
from robustness import store

TEMPERATURE = {"low": 0.05, "high": 2.0, "scale": "log", "levels": 4}
AXES = {"batch_size": {"values": [16, 64, 256], "scale": "log2"}}


def study(name, *losses, dataset="digits", seeds=3, **changes):
    families = {loss: {"temperature": TEMPERATURE} for loss in losses} | {"untrained": "default"}
    return small_study(name=name, data={"dataset": dataset}, families=families, axes=AXES, seeds=seeds, **changes)


@pytest.fixture
def stored(tmp_path):
    def make(*args, keep=lambda row: True, fails=lambda row: False, **changes):
        of = study(*args, **changes)
        return read_stored(
            write_store(tmp_path / f"{of.name}-{len(list(tmp_path.iterdir()))}", of, keep=keep, fails=fails)
        )

    return make


def test_families_seeds_and_data_sets_of_two_studies_are_one_table(stored):
    one, more_losses = stored("one", "nt_xent"), stored("two", "dhel")
    more_seeds = stored("three", "nt_xent", seeds=5)
    more_data = stored("four", "nt_xent", dataset="cifar10")
    (group,) = pooled([one, more_losses, more_seeds, more_data])
    table = table_of(group)
    assert table.name == "one + two + three + four"
    assert list(table.axes) == ["nt_xent", "dhel"]
    assert table.datasets == ("cifar10", "digits")
    counts = table.trials.groupby(["dataset", "family"]).size().to_dict()
    assert counts == {("cifar10", "nt_xent"): 36, ("digits", "dhel"): 36, ("digits", "nt_xent"): 60}
    assert not table.trials["trial_id"].duplicated().any()
    assert table.num_planned == len(table.trials) + len(table.baseline)
    assert table.floors == {"digits": 0.1, "cifar10": 0.1}


def test_studies_that_share_trials_are_as_one_study_that_has_them_all(stored):
    halves = [
        stored(name, "nt_xent", "dhel", keep=lambda row, k=k: row["seed"] % 2 == k) for k, name in enumerate("ab")
    ]
    whole = stored("whole", "nt_xent", "dhel")
    columns = ["family", "seed", "batch_size", "temperature", "linear_top1"]
    found, expected = (
        table_of(members).trials[columns].sort_values(columns[:4], ignore_index=True) for members in (halves, [whole])
    )
    pd.testing.assert_frame_equal(found, expected)


def test_a_trial_of_several_studies_is_that_of_the_first(stored):
    failed = stored("failed", "nt_xent", fails=lambda row: row["temperature"] == 0.05)
    sound = stored("sound", "nt_xent")
    assert (table_of([failed, sound]).trials["status"] == "diverged").sum() == 9
    assert (table_of([sound, failed]).trials["status"] == "ok").all()


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"model": {"encoder": "convnet_small"}}, "model.encoder (mlp; convnet_small)"),
        ({"training": {"epochs": 40}}, "training.epochs (20; 40)"),
        ({"training": {"updates": 40}}, "training.epochs (20; absent)"),
        ({"training": {"weight_decay": 0.1}}, "training.weight_decay (0.0; 0.1)"),
        ({"evaluation": {"probes": ["knn"]}}, "evaluation.probes"),
        ({"evaluation": {"images": 100}}, "evaluation.images (10000; 100)"),
        ({"design": {"kind": "sobol", "configurations": 8}}, "design.kind (grid; sobol)"),
        ({"analysis": {"outcome": "knn_top1"}}, "analysis.outcome (linear_top1; knn_top1)"),
        ({"training": {"tile": 64, "micro_batch": 16}}, ""),
        ({"evaluation": {"every": 5, "probes": ["knn", "linear"]}}, ""),
        ({"analysis": {"reference": "nt_xent", "tolerances": [0.05]}}, ""),
        ({"resources": {"cpus_per_pack": 2}, "pack": {"size": 4}}, ""),
    ],
)  # fmt: skip
def test_what_else_differs_stands_side_by_side(stored, changes, place):
    one, other = stored("one", "nt_xent"), stored("other", "nt_xent", **changes)
    assert difference(one, other) == place
    assert difference(one, one) == difference(other, other) == ""
    assert len(pooled([one, other])) == (2 if place else 1)


def test_the_same_label_must_mean_the_same(stored):
    one, other = stored("one", "nt_xent"), stored("other", "nt_xent", "dhel")
    narrow = {"nt_xent": {"temperature": {"values": [0.1, 0.2]}}}
    changed = replace(other, study=small_study(families=narrow, axes=AXES, seeds=3))
    assert difference(one, other) == ""
    assert difference(one, changed) == "families.nt_xent"
    assert difference(one, replace(other, study=replace(other.study, axes={}))) == "axes.batch_size"


def test_a_protocol_of_another_version_is_not_pooled(stored):
    one, other = stored("one", "nt_xent"), stored("two", "dhel")
    older = replace(other, rows=other.rows.assign(protocol_version=1))
    assert difference(one, older) == "protocol (2; 1)"


def test_files_are_known_by_their_content(stored):
    def with_file(content):
        found = stored("files", "nt_xent")
        told = {
            "content": content, "shape": [3, 32, 32], "num_train": 9, "num_fit": 9, "num_validation": 9, "num_test": 9,
            "num_classes": 3, "mean": [0, 0, 0], "deviation": [1, 1, 1], "augmentation": "cifar",
        }  # fmt: skip
        text = json.dumps({"data": told})
        of = replace(found.study, data=found.study.data.model_copy(update={"dataset": None, "npz": "photos.npz"}))
        return replace(found, study=of, planned=found.planned.assign(dataset="photos", trial=text))

    assert difference(with_file("abc"), with_file("abc")) == ""
    assert difference(with_file("abc"), with_file("abd")) == "data.photos"


def test_sentences_say_what_is_pooled_and_why_the_rest_is_not(stored):
    groups = pooled([stored("a", "nt_xent"), stored("b", "nt_xent", training={"epochs": 5}), stored("c", "dhel")])
    assert [[member.study.name for member in group] for group in groups] == [["a", "c"], ["b"]]
    assert relations(groups, ["a + c", "b"]) == [
        "a + c: 2 studies, pooled, as they differ in nothing but families, seeds and data sets.",
        "b stands beside a + c: they differ in training.epochs (20; 5).",
    ]


def tables(out):
    return {path.name: pd.read_csv(path) for path in (out / "tables").glob("*.csv")}


def test_a_report_of_one_is_the_report_of_that_study(stored, tmp_path):
    one = stored("one", "nt_xent", "dhel")
    for out, writer in ((tmp_path / "x", write), (tmp_path / "y", lambda folder, out: write_all([folder], out))):
        writer(one.folder, out)
    pages = [(tmp_path / name / "index.html").read_bytes() for name in "xy"]
    assert pages[0] == pages[1]
    assert "study" not in tables(tmp_path / "x")["robustness.csv"]


def test_pooled_and_apart_on_one_page(stored, tmp_path):
    one, two = stored("one", "dhel"), stored("two", "nt_xent", analysis={"reference": "nt_xent"})
    deep = stored("deep", "nt_xent", "dhel", model={"encoder": "convnet_small"})
    out = tmp_path / "out"
    page = write_all([one.folder, two.folder, deep.folder], out).read_text("utf-8")
    assert write_all([one.folder, two.folder, deep.folder], tmp_path / "again").read_text("utf-8") == page
    found = tables(out)
    assert {name: next(iter(frame)) for name, frame in found.items()} == dict.fromkeys(found, "study")
    assert set(found["robustness.csv"]["study"]) == {"one + two", "deep"}
    alone = tables(write(deep.folder, tmp_path / "deep").parent)
    assert set(found["comparisons.csv"]["study"]) == {"one + two"}
    assert set(found["comparisons.csv"]["against"]) == {"nt_xent"}
    mine = found["robustness.csv"].query("study == 'deep'").drop(columns="study").reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, alone["robustness.csv"])
    moved = found["transfer.csv"].query("measure == 'transferred_regret'")
    assert set(zip(moved["study"], moved["other_study"], moved["family"], strict=True)) == {
        (here, there, family)
        for here, there in (("one + two", "deep"), ("deep", "one + two"))
        for family in ("nt_xent", "dhel")
    }
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for text in ("one, two and deep: how much", "one + two: digits", "deep: digits", "Settings from elsewhere"):
        assert text in page
    assert "deep stands beside one + two: they differ in model.encoder (mlp; convnet_small)." in page
    answers = dict(re.findall(r'<p class="dataset">(.*?)</p>(.*?)</dl>', page, re.DOTALL))
    for here, there in (("one + two: digits", "deep: digits"), ("deep: digits", "one + two: digits")):
        assert "No setting that was chosen elsewhere is known to cost anything here" in answers[here]
        assert re.search(rf"of the interval of (nt_xent|dhel) from {re.escape(there)}\.", answers[here])


def test_a_setting_that_costs_something_elsewhere_is_told():
    row = {"measure": "transferred_regret", "outcome": "linear_top1", "here": "b", "there": "a"}
    rows = [
        row | {"family": "nt_xent", "estimate": 0.04, "low": 0.03, "high": 0.05},
        row | {"family": "dcl", "estimate": 0.05, "low": -0.01, "high": 0.11},
        row | {"family": "dhel", "estimate": 0.02, "low": 0.01, "high": 0.03},
        row | {"family": "kcl_log", "estimate": 0.09, "low": 0.08, "high": 0.1, "here": "a", "there": "b"},
    ]
    (told,) = transfer_passage(pd.DataFrame(rows), "b")
    assert told.text == (
        "2 of 3 settings chosen elsewhere are known to cost something here, most that of nt_xent from a: "
        "4.0 percentage points (3.0 to 5.0)."
    )
    assert transfer_passage(pd.DataFrame(rows), "c") == []


def test_a_study_and_its_copy_are_that_study(stored, tmp_path):
    one = stored("one", "nt_xent", "dhel")
    copy = shutil.copytree(one.folder, tmp_path / "copy")
    pages = [write_all([one.folder], tmp_path / "x").parent, write_all([one.folder, copy], tmp_path / "y").parent]
    for kind in ("tables/*.csv", "figures/*.svg"):
        names = {path.name for path in pages[0].glob(kind)}
        assert names == {path.name for path in pages[1].glob(kind)} != set()
    for path in pages[0].glob("figures/*.svg"):
        assert path.read_bytes() == (pages[1] / "figures" / path.name).read_bytes(), path.name


def test_groups_of_the_same_name_are_told_apart_by_their_folders(stored, tmp_path):
    same = [stored("same", "nt_xent"), stored("same", "nt_xent", training={"epochs": 5})]
    write_all([each.folder for each in same], tmp_path / "out")
    names = set(tables(tmp_path / "out")["robustness.csv"]["study"])
    assert names == {f"same ({each.folder})" for each in same}


def test_a_study_with_another_outcome_stands_beside(stored, tmp_path):
    one, other = stored("one", "nt_xent"), stored("other", "nt_xent", analysis={"outcome": "z_effective_rank"})
    write_all([one.folder, other.folder], tmp_path / "out")
    found = tables(tmp_path / "out")["transfer.csv"].query("measure == 'transferred_regret'")
    assert found.set_index("study")["outcome"].to_dict() == {"one": "linear_top1", "other": "z_effective_rank"}


def test_the_command_takes_several_studies(stored, tmp_path, command):
    folders = [str(stored(name, "nt_xent", seeds=seeds).folder) for name, seeds in (("a", 3), ("b", 5))]
    done = command("report", *folders, "--out", str(tmp_path / "out"))
    assert done.returncode == 0
    assert (tmp_path / "out" / "index.html").is_file()
    refused = command("report", *folders)
    assert refused.returncode == 2
    assert refused.stderr.strip() == "a report of 2 studies needs --out; see robustness report --help"
    lost = command("report", folders[0], str(tmp_path / "nowhere"), "--out", str(tmp_path / "other"))
    assert lost.returncode == 2
    assert "nowhere" in lost.stderr
    assert lost.stderr.count("\n") == 1
    assert not (tmp_path / "other").exists() or not any((tmp_path / "other").iterdir())


def test_an_interrupted_study_of_several_says_so(stored, tmp_path):
    half = stored("half", "nt_xent", keep=lambda row: row["seed"] == 0)
    page = write_all([stored("whole", "dhel").folder, half.folder], tmp_path / "out").read_text("utf-8")
    assert "The study is not complete" in page
    assert from_store(half.folder).num_planned == store.read_plan(half.folder).shape[0]
