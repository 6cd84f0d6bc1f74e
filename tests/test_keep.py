"""Kept encoders: which are kept, how they are stored, and what becomes of them."""

import numpy as np
import pandas as pd
import pytest
import torch
from studies_for_tests import tiny

import robustness.training.evaluation as evaluation
from robustness import store
from robustness.data import load, two_views
from robustness.models import build
from robustness.plan import plan
from robustness.seeds import derive
from robustness.store import StoreError, read_encoder, remove_encoder, write_encoder
from robustness.sweep.keep import best_trials, prune
from robustness.training import train_pack
from robustness.training.embed import embed
from robustness.training.evaluation import probe_set
from robustness.trial import Trial

WEIGHTS = {
    "layer.weight": torch.arange(6.0).reshape(2, 3).T,
    "layer.bias": torch.tensor([1.5, -2.0], dtype=torch.float64),
    "seen": torch.tensor(7),
}


def planned_in(folder, **changes):
    study = tiny(**changes)
    store.prepare(folder)
    rows = plan(study)
    store.write_plan(folder, rows, study.written())
    return study, rows


def stored(folder, rows, outcome, **columns):
    """Store every pack, with an outcome for each row, or failed where it's None."""
    rows = rows.astype(object).where(rows.notna(), None)
    rows = rows.assign(**columns, linear_top1=list(outcome))
    rows = rows.assign(status=["error" if value is None else "ok" for value in rows["linear_top1"]])
    for pack, own in rows.groupby("pack_id", sort=False):
        store.write_pack(folder, pack, own.to_dict("records"), [])


def kept(folder):
    return {path.stem for path in (folder / "encoders").glob("*.safetensors")}


def test_weights_come_back_bit_by_bit_with_their_types_and_shapes(tmp_path):
    write_encoder(tmp_path, "abc", WEIGHTS)
    found = read_encoder(tmp_path, "abc")
    assert found.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        assert found[name].dtype == value.numpy().dtype
        assert found[name].shape == value.shape
        assert np.array_equal(found[name], value.numpy())


def test_a_second_write_replaces_the_first_and_leaves_no_other_file(tmp_path):
    write_encoder(tmp_path, "abc", WEIGHTS)
    write_encoder(tmp_path, "abc", {"seen": torch.tensor(8)})
    assert {name: int(value) for name, value in read_encoder(tmp_path, "abc").items()} == {"seen": 8}
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == ["abc.safetensors"]


def test_a_write_that_fails_leaves_the_older_file_as_it_was(tmp_path, monkeypatch):
    write_encoder(tmp_path, "abc", {"seen": torch.tensor(8)})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_encoder(tmp_path, "abc", WEIGHTS)
    assert {*read_encoder(tmp_path, "abc")} == {"seen"}
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == ["abc.safetensors"]


def test_an_encoder_that_was_not_kept_or_is_damaged_is_one_line(tmp_path):
    with pytest.raises(StoreError, match="the encoder of trial abc was not kept"):
        read_encoder(tmp_path, "abc")
    write_encoder(tmp_path, "abc", WEIGHTS)
    path = tmp_path / "encoders" / "abc.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StoreError, match=r"abc\.safetensors: damaged") as error:
        read_encoder(tmp_path, "abc")
    assert "\n" not in str(error.value)


def test_an_encoder_can_be_removed_once_or_twice(tmp_path):
    write_encoder(tmp_path, "abc", WEIGHTS)
    remove_encoder(tmp_path, "abc")
    remove_encoder(tmp_path, "abc")
    assert kept(tmp_path) == set()


def swept(folder, keep, outcome, **changes):
    study, rows = planned_in(folder, evaluation__keep=keep, **changes)
    stored(folder, rows, outcome(rows))
    for trial_id in rows["trial_id"]:
        write_encoder(folder, trial_id, {"seen": torch.tensor(1)})
    return study, rows


def by_temperature(rows):
    """0.5 is better on average, 0.1 better in the single best seed; batches of 64 better than of 256."""
    score = {(0.1, 0): 0.9, (0.1, 1): 0.1, (0.5, 0): 0.7, (0.5, 1): 0.6}
    keys = zip(rows["temperature"].fillna(0.5), rows["seed"], rows["batch_size"].fillna(64), strict=True)
    return [score[temperature, seed] - 0.01 * (size == 256) for temperature, seed, size in keys]


def test_best_keeps_all_seeds_of_each_family_s_best_mean(tmp_path):
    study, rows = swept(tmp_path, "best", by_temperature)
    best = rows[rows["temperature"].isna() | ((rows["temperature"] == 0.5) & (rows["batch_size"] == 64))]
    assert len(best) == 6
    for _ in range(2):
        prune(study, tmp_path)
        assert kept(tmp_path) == {*best["trial_id"]}


def test_the_best_of_an_outcome_that_is_minimised_is_the_smallest(tmp_path):
    study, rows = swept(tmp_path, "best", by_temperature, analysis__direction="minimize")
    prune(study, tmp_path)
    worst = rows[rows["temperature"].isna() | ((rows["temperature"] == 0.1) & (rows["batch_size"] == 256))]
    assert kept(tmp_path) == {*worst["trial_id"]}


@pytest.mark.parametrize("keep", ["all", "none"])
def test_nothing_is_removed_unless_the_best_are_to_be_kept(tmp_path, keep):
    study, rows = swept(tmp_path, keep, by_temperature)
    prune(study, tmp_path)
    assert kept(tmp_path) == {*rows["trial_id"]}


def test_nothing_is_removed_while_trials_are_left(tmp_path):
    study, rows = swept(tmp_path, "best", by_temperature)
    next((tmp_path / "trials").glob("*.parquet")).unlink()
    prune(study, tmp_path)
    assert kept(tmp_path) == {*rows["trial_id"]}


def test_a_configuration_with_a_failed_seed_is_best_only_where_all_have_one():
    frame = plan(tiny(axes__batch_size={"values": [64]}))
    frame = frame[frame["family"] == "dhel"].reset_index(drop=True)
    good, poor = (frame["temperature"] == value for value in (0.1, 0.5))
    scored = frame.assign(linear_top1=np.where(good, 0.9, 0.5))
    assert best_trials(scored, outcome="linear_top1", maximize=True) == {*frame.loc[good, "trial_id"]}
    scored.loc[good & (frame["seed"] == 1), "linear_top1"] = None
    assert best_trials(scored, outcome="linear_top1", maximize=True) == {*frame.loc[poor, "trial_id"]}
    scored.loc[poor & (frame["seed"] == 0), "linear_top1"] = None
    assert best_trials(scored, outcome="linear_top1", maximize=True) == {*frame.loc[good, "trial_id"]}


def a_trial(rows, family="dhel"):
    return Trial.from_json(rows.loc[rows["family"] == family, "trial"].iloc[0])


def network_of(trial):
    model = trial.model
    return build(
        model["encoder"],
        model["projector"],
        dataset=trial.dataset,
        batch_norm=model["projector_batch_norm"],
        seed=trial.seed,
    )


def moved_network(trial):
    """Weights that no seed draws."""
    network = network_of(trial)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.01)
    return network


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_embed_writes_what_the_kept_network_makes_of_all_labelled_images(tmp_path, suffix):
    _, rows = planned_in(tmp_path, model__projector_batch_norm=True)
    trial = a_trial(rows)
    network = moved_network(trial).eval()
    write_encoder(tmp_path, trial.trial_id, network.state_dict())
    out = tmp_path / f"embeddings{suffix}"
    assert embed(tmp_path, trial.trial_id, out) == 1797
    found = np.load(out) if suffix == ".npz" else pd.read_parquet(out)
    h, z = (np.stack(list(found[name])) for name in "hz")
    splits = load(trial.data)
    labelled = {"fit": splits.fit, "validation": splits.validation, "test": splits.test}
    with torch.no_grad():
        expected = network(torch.cat([split.images for split in labelled.values()]))
    assert np.allclose(h, expected[0].numpy(), atol=1e-5)
    assert np.allclose(z, expected[1].numpy(), atol=1e-5)
    assert h.dtype == z.dtype == np.float32
    assert np.array_equal(found["labels"], torch.cat([split.labels for split in labelled.values()]).numpy())
    assert [str(name) for name in found["split"]] == [name for name, part in labelled.items() for _ in part.labels]
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_trained_weights_that_were_kept_embed_as_the_trial_was_measured(tmp_path):
    _, rows = planned_in(tmp_path, training__precision="float64")
    trial = a_trial(rows)
    (result,) = train_pack([trial], keep_weights=True)
    write_encoder(tmp_path, trial.trial_id, result.weights)
    embed(tmp_path, trial.trial_id, tmp_path / "e.npz")
    found = np.load(tmp_path / "e.npz")
    z = found["z"][found["split"] == "test"]
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    assert z.dtype == np.float64
    assert np.linalg.svd(unit, compute_uv=False) == pytest.approx(result.outcomes["z_spectrum"], rel=1e-9)


def test_embed_refuses_weights_of_another_network(tmp_path):
    _, rows = planned_in(tmp_path)
    trial = a_trial(rows)
    write_encoder(tmp_path, trial.trial_id, WEIGHTS)
    with pytest.raises(StoreError, match="is of another network") as error:
        embed(tmp_path, trial.trial_id, tmp_path / "e.npz")
    assert "\n" not in str(error.value)


def result_of(**changes):
    study = tiny(analysis__outcome="knn_top1", **changes)
    (result,) = train_pack([a_trial(plan(study))], every=1)
    assert result.status == "ok", result.error
    return result


def test_the_first_two_views_are_those_of_the_seed_and_the_others_are_all_different():
    trial = a_trial(plan(tiny()))
    splits = load(trial.data)
    probes = probe_set(trial, splits)
    expected = two_views(splits.test.images, trial.data["augmentation"], seed=derive(trial.seed, "probe"))
    assert all(torch.equal(view, other) for view, other in zip(probes.views, expected, strict=True))
    views = [view[:20] for view in probes.views] + [view for pair in probes.more_views(20) for view in pair]
    assert len(views) == 10
    assert all(view.shape == views[0].shape for view in views)
    assert all(not torch.equal(views[i], views[j]) for i in range(10) for j in range(i))


def test_views_that_are_kept_equal_views_that_are_made_again(monkeypatch):
    trial = a_trial(plan(tiny()))
    probes = probe_set(trial, load(trial.data))
    pairs = [list(probes.more_views(20)) for _ in range(2)]
    assert pairs[0][0][0] is pairs[1][0][0]
    monkeypatch.setattr(evaluation, "_MOST_KEPT_BYTES", 0)
    again = [list(probe_set(trial, probes.splits).more_views(20)) for _ in range(2)]
    for one, two, three in zip(pairs[0], *again, strict=True):
        assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(one, two, three, strict=True))


def test_lidar_is_measured_at_the_end_only_and_where_there_are_10_images_a_dimension():
    families = {"dhel": {"temperature": 1}}
    result = result_of(training__updates=50, evaluation__probes=["knn", "retrieval"], families=families)
    assert result.outcomes["z_lidar"] > 1
    assert "h_lidar" not in result.outcomes
    assert [("z_lidar" in epoch) for epoch in result.history] == [False] * (len(result.history) - 1) + [True]
    assert len(result.history) > 1
    assert all(0 < epoch["retrieval_top1"] <= 1 for epoch in result.history)


def test_studies_without_enough_images_for_lidar_make_no_more_views(monkeypatch):
    seeds = []

    def counted(images, preset, *, seed):
        seeds.append(seed)
        return two_views(images, preset, seed=seed)

    monkeypatch.setattr(evaluation, "two_views", counted)
    assert "z_lidar" not in result_of(evaluation__images=319, evaluation__probes=["knn"]).outcomes
    assert len(seeds) == 1
    assert "z_lidar" in result_of(evaluation__images=320, evaluation__probes=["knn"]).outcomes
    assert len(seeds) == 1 + 5
