import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies_for_tests import TINY, changed, quickstart, tiny

from robustness.plan import (
    check,
    evaluation_updates,
    expected,
    extend,
    known_configurations,
    num_expected,
    num_updates,
    plan,
    suggested,
)
from robustness.plan.designs import configurations, points
from robustness.store import PLAN_SCHEMA
from robustness.trial import PROTOCOL_VERSION, Trial, canonical_json, digest, pack_id
from search_spaces import StudyError, parse_study
from search_spaces.datasets import DATASETS
from search_spaces.sections import Design


def test_the_quickstart_plans_seven_families_and_the_untrained_line():
    rows = plan(quickstart())
    trained = rows[rows["family"] != "untrained"]
    assert trained["family"].nunique() == 7
    assert (len(trained), len(rows)) == (525, 530)
    assert set(trained.groupby("family").size()) == {75}


def test_a_plan_is_the_same_every_time_and_has_the_plan_schema():
    pd.testing.assert_frame_equal(plan(quickstart()), plan(quickstart()))
    assert list(plan(tiny()).columns) == PLAN_SCHEMA.names


def test_trial_ids_do_not_change_between_versions():
    # A change here means that stored results no longer match their plans: raise PROTOCOL_VERSION.
    rows = plan(tiny())
    assert rows["trial_id"].iloc[0] == "8ecd0a23cc687381f61357e1ccb46ad3"
    assert rows["trial_id"].is_unique


def test_a_trial_id_is_the_hash_of_the_trial_column():
    rows = plan(tiny())
    assert [digest(text) for text in rows["trial"]] == list(rows["trial_id"])
    assert [Trial.from_json(text).trial_id for text in rows["trial"]] == list(rows["trial_id"])


@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"resources__cpus_per_pack": 2}, {"pack__size": 3}, {"evaluation__every": 1},
     {"analysis__tolerances": [0.1]}],
)  # fmt: skip
def test_what_does_not_decide_a_result_leaves_ids_alone(change):
    assert list(plan(tiny(**change))["trial_id"]) == list(plan(tiny())["trial_id"])


@pytest.mark.parametrize(
    "change",
    [{"training__updates": 6}, {"training__momentum": 0.5}, {"data__augmentation": "affine"},
     {"model__projector": [64, 32]}, {"evaluation__probes": ["linear"]}, {"training__precision": "float64"}],
)  # fmt: skip
def test_what_decides_a_result_changes_every_trained_id(change):
    before, after = plan(tiny()), plan(tiny(**change))
    trained = before["family"] != "untrained"
    assert not set(before["trial_id"][trained]) & set(after["trial_id"])


def test_the_untrained_line_does_not_depend_on_training():
    ids = []
    for study in (tiny(), tiny(training__updates=9, training__precision="float64")):
        rows = plan(study)
        ids.append(set(rows.loc[rows["family"] == "untrained", "trial_id"]))
    assert ids[0] == ids[1]


def test_whole_floats_and_integers_and_rounding_noise_are_one_trial():
    assert canonical_json({"a": 2.0, "b": None}) == canonical_json({"a": 2}) == '{"a":2}'
    assert canonical_json(0.1 + 0.2) == canonical_json(0.3)


def test_packs_agree_on_all_but_family_and_scalar_hyperparameters():
    for _, pack in plan(quickstart(pack__size=10)).groupby("pack_id"):
        trials = [json.loads(text) for text in pack["trial"]]
        for trial in trials:
            del trial["loss"], trial["hyperparameters"]
        assert all(trial == trials[0] for trial in trials)
        assert len(pack) <= 10
        assert pack_id(list(pack["trial_id"])[::-1]) == pack["pack_id"].iloc[0]


def test_packs_of_a_group_are_cut_evenly():
    sizes = plan(quickstart())["pack_id"].value_counts()
    assert set(sizes) == {17, 18, 1}


def test_sobol_points_are_prefixes_of_larger_designs():
    small, large = (points(Design(kind="sobol", configurations=n, seed=3)) for n in (5, 100))
    np.testing.assert_array_equal(small, large[:5])
    small, large = (points(Design(kind="random", configurations=n, seed=3)) for n in (5, 100))
    np.testing.assert_array_equal(small, large[:5])
    assert not np.array_equal(small, points(Design(kind="random", configurations=5, seed=4)))


def test_sobol_fills_every_quarter_of_every_axis_equally():
    cube = points(Design(kind="sobol", configurations=64, seed=0))
    for column in cube.T:
        assert set(np.bincount((column * 4).astype(int))) == {16}


def test_scattered_families_share_their_shared_coordinates():
    study = quickstart(design={"kind": "sobol", "configurations": 16, "seed": 1})
    shared = [[c["batch_size"] for c in configurations(study, f)] for f in study.families.values() if f.axes]
    assert len(shared) == 7
    assert all(sizes == shared[0] for sizes in shared)


def test_one_more_family_or_shared_axis_moves_no_point_of_the_others():
    design = {"kind": "sobol", "configurations": 8, "seed": 0}
    cold = {"temperature": {"low": 0.1, "high": 1}}
    few = tiny(design=design, families__nt_xent=cold, families__dhel=cold)
    more = {
        "families__nt_xent": cold,
        "families__dhel": cold,
        "families__kcl_log": "default",
        "axes__weight_decay": {"low": 1e-5, "high": 1e-2},
    }
    many = tiny(design=design, **more)
    for label in ("nt_xent", "dhel"):
        before = configurations(few, few.families[label])
        after = configurations(many, many.families[label])
        assert before == [{name: point[name] for name in ("batch_size", "temperature")} for point in after]


def test_an_axis_that_a_family_lacks_is_null_for_it():
    study = tiny(axes__temperature={"values": [0.1, 0.5]}, families={"dhel": {}, "kcl_log": {"bandwidth": 2}})
    rows = plan(study)
    assert rows[rows["family"] == "kcl_log"]["temperature"].isna().all()
    assert rows.groupby("family").size().to_dict() == {"dhel": 8, "kcl_log": 4}


def test_projector_dim_replaces_the_last_width():
    rows = plan(tiny(axes__projector_dim={"values": [16, 64]}))
    widths = {json.loads(text)["model"]["projector"][-1] for text in rows["trial"][rows["family"] == "dhel"]}
    assert widths == {16, 64}


ASHA = {"kind": "tpe", "configurations": 5, "scheduler": "asha"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data__dataset": "digit"}, "data.dataset: no data set of this name; did you mean 'digits'?"),
        ({"data__augmentation": "afine"}, "data.augmentation: .*did you mean 'affine'?"),
        ({"data__augmentation": "cifar"}, "data.augmentation: cifar changes colours, expected images of 3 channels, "),
        ({"data": {"npz": "no/such.npz"}}, "data.npz: no/such.npz: can't read this file: No such file or directory"),
        ({"data": {"imagefolder": "no/such"}}, "data.imagefolder: no/such: expected the folders train/CLASS and "),
        ({"model__encoder": "mpl"}, "model.encoder: .*did you mean 'mlp'?"),
        ({"axes__batch_size": 2048}, "axes.batch_size: digits has 1024 training images, got a batch size of 2048"),
        ({"analysis__outcome": "linear_top"}, "analysis.outcome: .*did you mean 'linear_top1'?"),
        ({"evaluation__probes": ["knn"]}, "analysis.outcome: 'linear_top1' is not measured"),
        ({"design": ASHA, "evaluation": {"every": 1}}, "analysis.outcome: asha compares trials on the way, "
         "and linear_top1 is measured at the end only; knn_top1 .probe knn. is measured after every evaluated epoch"),
        ({"design": ASHA, "evaluation": {"every": 1}, "analysis": {"outcome": "h_lidar"}},
         "h_lidar is measured at the end only; final_loss is"),
        ({"design": {"kind": "tpe", "configurations": 10**7}}, "trials; expected at most 10,000,000"),
        ({"training": {"images": 100}}, "training.images: expected at least one batch of 256, got 100"),
        ({"axes__learning_rate": {"low": 1e-3, "high": 1, "levels": 100000}, "families__kcl_imq": {
            "kernel_scale": {"low": 1, "high": 2, "levels": 100000}}}, "trials; expected at most 10,000,000"),
        ({"families__again": {"loss": "dhel", "temperature": 0.1}}, "again and dhel plan the same trial"),
    ],
)  # fmt: skip
def test_names_and_sizes_that_can_not_run_are_one_line(change, message):
    with pytest.raises(StudyError, match=message.replace("?", "[?]")):
        plan(tiny(**change))


ADAPTIVE = {"design": {"kind": "tpe", "configurations": 5}, "families__dcl": {"temperature": 0.2}}


def test_an_adaptive_study_plans_beforehand_what_has_no_axis():
    rows = plan(tiny(**ADAPTIVE, axes={}))
    assert rows.groupby("family").size().to_dict() == {"dcl": 2, "untrained": 2}
    assert set(rows["design"]) == {"tpe"}
    assert plan(tiny(design=ADAPTIVE["design"], families__untrained=None)).empty


def test_trials_of_an_adaptive_study_are_counted_before_they_are_known():
    study = tiny(**ADAPTIVE, axes={}, data={"dataset": ["digits", "mnist"]})
    assert num_expected(study) == {"nt_xent": 20, "dhel": 20, "untrained": 4, "dcl": 4}
    assert expected(study)["family"].value_counts().to_dict() == num_expected(study)
    assert list(expected(study).columns) == PLAN_SCHEMA.names
    for study in (tiny(), quickstart(), tiny(design={"kind": "sobol", "configurations": 4})):
        assert num_expected(study) == plan(study)["family"].value_counts().reindex(list(study.families)).to_dict()


def test_a_suggested_configuration_is_trials_of_all_data_sets_and_seeds_in_different_packs():
    study = tiny(**ADAPTIVE, axes__learning_rate={"low": 0.01, "high": 1}, data={"dataset": ["digits", "mnist"]})
    configuration = {"batch_size": 64, "learning_rate": 0.125, "temperature": 0.5}
    rows = suggested(study, check(study), study.families["dhel"], [configuration])
    assert sorted(zip(rows["dataset"], rows["seed"], strict=True)) == [
        (n, s) for n in ("digits", "mnist") for s in (0, 1)
    ]
    assert rows["pack_id"].nunique() == len(rows) == 4
    assert (rows[["batch_size", "learning_rate", "temperature"]] == [64, 0.125, 0.5]).all(axis=None)
    (known,) = known_configurations(study, rows)
    assert (known.family, known.configuration, known.trial_ids) == ("dhel", configuration, tuple(rows["trial_id"]))
    grid = plan(tiny(axes__learning_rate={"values": [0.125]}, data={"dataset": ["digits", "mnist"]}))
    assert set(rows["trial_id"]) <= set(grid["trial_id"])


def test_suggested_trials_stay_where_an_axis_still_holds_them():
    old = tiny(**ADAPTIVE, families__dhel={"temperature": {"low": 0.1, "high": 1}})
    chosen = {"batch_size": 64, "temperature": 0.5}
    before = pd.concat([plan(old), suggested(old, check(old), old.families["dhel"], [chosen])], ignore_index=True)
    wider = tiny(**ADAPTIVE, families__dhel={"temperature": {"low": 0.01, "high": 2}})
    pd.testing.assert_frame_equal(extend(Path("r"), before, old.written(), wider), before)
    higher = tiny(**ADAPTIVE, families__dhel={"temperature": {"low": 0.6, "high": 2}})
    with pytest.raises(StudyError, match=r"families\.dhel\.temperature low 0\.1, .* is another axis"):
        extend(Path("r"), before, old.written(), higher)
    other = tiny(**ADAPTIVE | {"design": {"kind": "gp", "configurations": 5}}, families__dhel="default")
    with pytest.raises(StudyError, match=r"design\.kind tpe -> gp is another study"):
        extend(Path("r"), before, old.written(), other)


def npz_study(path, *, value=0, **changes):
    """A study of a file of 100 training images, 8 x 8 in grey or in colour, that differ in one of their values."""
    path.parent.mkdir(exist_ok=True)
    shape = (100, 8, 8, 3) if changes.pop("colour", False) else (100, 8, 8)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    images[0, 0, 0] = value
    labels = np.arange(100) % 4
    np.savez(path, train_images=images, train_labels=labels, test_images=images[:20], test_labels=labels[:20])
    return tiny(**{"data": {"npz": str(path)}, "axes__batch_size": {"values": [20, 50]}, **changes})


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10", "fashion_mnist", "mnist"])
def test_planning_with_known_data_sets_needs_no_files(name, tmp_path):
    rows = plan(tiny(data={"dataset": name, "root": str(tmp_path / "nowhere")}))
    (data,) = {canonical_json(json.loads(text)["data"]) for text in rows["trial"]}
    assert json.loads(data) == {"dataset": name, "augmentation": DATASETS[name].augmentation}


def test_trials_of_files_tell_what_is_known_of_them_and_how_they_are_augmented(tmp_path):
    rows = plan(npz_study(tmp_path / "mine.npz"))
    assert set(rows["dataset"]) == {"mine"}
    trial = Trial.from_json(rows["trial"].iloc[0])
    assert trial.data["augmentation"] == "crop_flip"
    assert (trial.dataset.num_train, trial.dataset.num_fit, trial.dataset.shape) == (100, 90, (1, 8, 8))
    assert evaluation_updates(trial, every=1) == [5]
    rows = plan(npz_study(tmp_path / "mine.npz", colour=True, data={"npz": str(tmp_path / "mine.npz"),
                                                                    "augmentation": "stl"}))  # fmt: skip
    assert Trial.from_json(rows["trial"].iloc[0]).data["augmentation"] == "stl"


def test_ids_depend_on_the_content_of_a_file_and_not_on_where_it_lies(tmp_path):
    ids = [
        set(plan(npz_study(tmp_path / folder / "mine.npz", value=value))["trial_id"])
        for folder, value in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes__batch_size": {"values": [20, 200]}}, "axes.batch_size: mine has 100 training images, got a batch "),
        (
            {"data__augmentation": "imagenet"},
            "data.augmentation: imagenet changes colours, .* got mine with 1; crop_flip",
        ),
    ],
)
def test_what_does_not_suit_the_files_of_a_study_is_one_line(change, message, tmp_path):
    study = npz_study(tmp_path / "mine.npz")
    raw = changed(study.written(), {place.replace("__", "."): value for place, value in change.items()})
    with pytest.raises(StudyError, match=f"^my.yaml: {message}"):
        plan(parse_study(raw, "my.yaml"))


def test_a_file_that_was_moved_extends_its_folder_and_another_content_is_named(tmp_path):
    old = npz_study(tmp_path / "a" / "mine.npz")
    before = plan(old)
    moved = npz_study(tmp_path / "b" / "mine.npz", seeds=3)
    after = extend(Path("r"), before, old.written(), moved)
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    assert len(after) > len(before)
    rule = "data: mine has other images now, content [0-9a-f]{8} -> [0-9a-f]{8}; choose another --out"
    with pytest.raises(StudyError, match=rule):
        extend(Path("r"), before, old.written(), npz_study(tmp_path / "b" / "mine.npz", value=1))
    with pytest.raises(StudyError, match=r"data\.dataset drops mine"):
        extend(Path("r"), before, old.written(), tiny())


def test_where_known_data_lie_does_not_matter_to_a_folder():
    old, new = tiny(), tiny(data__root="elsewhere", data__download=True, seeds=3)
    assert len(extend(Path("r"), plan(old), old.written(), new)) > len(plan(old))


def test_lengths_are_whole_batches():
    def updates(training):
        rows = plan(tiny(training=training))
        return {int(r.batch_size): num_updates(Trial.from_json(r.trial)) for r in rows.itertuples() if r.batch_size > 0}

    assert updates({"epochs": 3}) == {64: 48, 256: 12}
    assert updates({"updates": 7}) == {64: 7, 256: 7}
    assert updates({"images": 1000}) == {64: 15, 256: 3}


def test_the_last_update_is_always_evaluated():
    trial = Trial.from_json(plan(tiny(training={"epochs": 5}))["trial"].iloc[0])
    assert evaluation_updates(trial, every=2) == [32, 64, 80]
    assert evaluation_updates(trial, every=None) == [80]


def test_seeds_and_families_extend_a_plan_and_old_packs_keep_their_members():
    old = tiny()
    before = plan(old)
    after = extend(Path("r"), before, old.written(), tiny(seeds=3, families__dcl={"temperature": 0.2}))
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    assert set(after["trial_id"]) == set(plan(tiny(seeds=3, families__dcl={"temperature": 0.2}))["trial_id"])
    assert not set(after["pack_id"].iloc[len(before) :]) & set(before["pack_id"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 1}, "seeds drops 1;"),
        ({"training__updates": 6}, "training.updates 5 -> 6 is another study"),
        ({"training__updates": None, "training__epochs": 2}, "training.updates 5 -> .none. is another study"),
        ({"model__projector": [64, 16]}, "model.projector .128, 32. -> .64, 16. is another study"),
        ({"axes__batch_size": {"values": [64]}}, "axes.batch_size"),
        ({"axes__batch_size": {"values": [64, 128]}}, "axes.batch_size drops 256"),
        ({"families__dhel": None}, "families drops dhel"),
        ({"families__dhel": {"temperature": {"values": [0.1]}}}, "families.dhel.temperature"),
        ({"families__dhel__loss": "dcl"}, "families.dhel.loss dhel -> dcl is another loss"),
    ],
)
def test_a_study_that_drops_trials_is_refused_with_what_is_gone(change, message):
    old = tiny()
    with pytest.raises(StudyError, match=message) as caught:
        extend(Path("results"), plan(old), old.written(), tiny(**change))
    assert "choose another --out" in str(caught.value)


def test_a_family_can_not_be_renamed_half_way():
    old = tiny()
    renamed = tiny(seeds=3, families__dhel=None, families__mine=TINY["families"]["dhel"] | {"loss": "dhel"})
    with pytest.raises(StudyError, match="families: dhel is now called mine, and stored trials keep their label"):
        extend(Path("results"), plan(old), old.written(), renamed)


def test_a_plan_of_another_protocol_is_refused_with_that_reason():
    old = tiny()
    before = plan(old)
    texts = before["trial"].str.replace(f'"protocol":{PROTOCOL_VERSION}', '"protocol":0')
    before = before.assign(trial=texts, trial_id=[digest(text) for text in texts])
    with pytest.raises(StudyError, match="planned under protocol 0, and this version's is"):
        extend(Path("results"), before, old.written(), old)


def test_more_levels_that_drop_levels_name_a_number_that_keeps_them():
    def levels(count):
        return tiny(families__dhel={"temperature": {"low": 0.1, "high": 1, "levels": count}})

    with pytest.raises(StudyError, match="levels 6 -> 8 drops levels; use 11, which keeps them all, or values"):
        extend(Path("results"), plan(levels(6)), levels(6).written(), levels(8))
    assert len(extend(Path("r"), plan(levels(6)), levels(6).written(), levels(11))) > len(plan(levels(6)))


def test_another_protocol_is_not_mixed_in():
    text = plan(tiny())["trial"].iloc[0].replace(f'"protocol":{PROTOCOL_VERSION}', '"protocol":0')
    with pytest.raises(ValueError, match="planned under protocol 0"):
        Trial.from_json(text)
