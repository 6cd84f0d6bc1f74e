"""Batch policies as an axis of a study: what is planned, and what a trial is trained on."""

import pytest
import torch
from studies_for_tests import tiny

from robustness.data import load
from robustness.data.policies import epoch_batches
from robustness.losses import LOSSES
from robustness.plan import images_per_update, num_updates, plan, steps_per_epoch
from robustness.training import Checkpoints, Interrupted, batches, train_pack
from robustness.training.batches import Feed
from robustness.training.lockstep import Lockstep
from robustness.training.member import members_of
from robustness.trial import Trial
from search_spaces import StudyError
from search_spaces.hyperparameters import BATCH_POLICIES

CPU = torch.device("cpu")
QUICK = {"evaluation": {"probes": ["knn"], "images": 64}, "analysis": {"outcome": "knn_top1"}}
SIZES = {"fixed": 64, "shuffled": 64, "balanced": 64, "ordered": 64, "spectral": 64, "full": 64}


def trials(policy, *, size=64, losses=("nt_xent",), **changes):
    axes = {"batch_size": size, "batch_policy": policy}
    families = {loss: {} for loss in losses}
    return [
        Trial.from_json(text) for text in plan(tiny(axes=axes, families=families, seeds=1, **QUICK | changes))["trial"]
    ]


def feed(trial):
    return Feed(members_of([trial], CPU), load(trial.data).train, CPU)


@pytest.fixture
def trained(monkeypatch):
    """The images of every update, and what choosing was given."""
    seen, update = [], Lockstep.update

    def recorded(self, views):
        seen.append(views[0].clone())
        update(self, views)

    monkeypatch.setattr(Lockstep, "update", recorded)
    return seen


def test_shuffled_batches_leave_every_id_as_it_was():
    (named,), (usual,) = (
        trials("shuffled"),
        [
            Trial.from_json(text)
            for text in plan(tiny(axes={"batch_size": 64}, families={"nt_xent": {}}, seeds=1, **QUICK))["trial"]
        ],
    )
    assert named.trial_id == usual.trial_id
    assert "batch_policy" not in named.json
    ids = {trials(policy)[0].trial_id for policy in SIZES}
    assert len(ids) == len(SIZES)


def test_a_plan_names_the_policy_of_every_trial():
    rows = plan(tiny(axes={"batch_size": 64, "batch_policy": {"values": ["spectral", "fixed"]}}, **QUICK))
    told = rows.loc[rows["loss"] != "untrained", "batch_policy"]
    assert told.value_counts().to_dict() == {"spectral": 8, "fixed": 8}
    assert rows.loc[rows["loss"] == "untrained", "batch_policy"].isna().all()
    packs = rows[rows["loss"] != "untrained"].groupby("pack_id")["batch_policy"].nunique()
    assert (packs == 1).all()


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (
            {"batch_policy": "random"},
            "batch_policy: no batch_policy of this name: 'random'; there is all_subsets, balanced",
        ),
        ({"batch_policy": "shufled"}, "batch_policy: no batch_policy of this name: 'shufled'; did you mean 'shuffled'"),
        ({"batch_policy": 3}, "batch_policy: expected one of shuffled, fixed, .*, got 3"),
        ({"batch_policy": {"values": []}}, r"batch_policy.values: expected a list with at least one value, got \[\]"),
        ({"batch_policy": {"values": ["fixed", "fixed"]}}, "batch_policy.values: expected different values"),
        ({"batch_policy": {"low": 1, "high": 2}}, "batch_policy.low: no such key"),
        (
            {"batch_policy": "all_subsets"},
            r"batch_policy: all_subsets: expected at most 100,000 subsets, got about 10\^249 of 256 out of 1024 images",
        ),
        (
            {"batch_policy": "balanced", "batch_size": 100},
            "batch_policy: balanced: no design is known of 1024 images in batches of 100; possible are 100 images or",
        ),
    ],
)
def test_what_a_policy_cannot_do_is_one_line(axes, message):
    with pytest.raises(StudyError, match=f"tiny.yaml: axes.{message}"):
        plan(tiny(axes=axes, **QUICK))


@pytest.mark.parametrize("policy", SIZES)
def test_every_policy_trains_the_planned_updates(policy, trained):
    (trial,) = trials(policy, training={"updates": 3})
    (result,) = train_pack([trial])
    assert result.status == "ok"
    assert (result.updates, result.images) == (3, 3 * images_per_update(trial))
    assert [len(images) for images in trained] == [1024 if policy == "full" else 64] * 3
    assert (result.cost["selection_seconds"] > 0) == (policy in ("ordered", "spectral"))


def test_a_full_batch_is_one_update_an_epoch_with_its_gradient():
    (trial,) = trials("full", training={"epochs": 3})
    assert (steps_per_epoch(trial), num_updates(trial), images_per_update(trial)) == (1, 3, 1024)
    assert feed(trial).of_epoch(2).tolist() == [list(range(1024))]


@pytest.mark.parametrize("policy", ["fixed", "shuffled", "balanced"])
def test_batches_that_look_at_nothing_are_those_of_the_policy(policy):
    (trial,) = trials(policy)
    for epoch in (0, 1):
        expected = epoch_batches(policy, 1024, batch_size=64, seed=trial.seed, epoch=epoch)
        assert torch.equal(feed(trial).of_epoch(epoch), expected)


def test_ordered_batches_are_harder_than_shuffled_ones_and_spectral_ones_too():
    hardness = {}
    for policy in ("shuffled", "ordered", "spectral"):
        (trial,) = trials(policy)
        of = feed(trial)
        first, second = of._embeddings(0)
        chosen = of.of_epoch(0)
        assert chosen.shape == (16, 64)
        assert all(len(set(batch)) == 64 for batch in chosen.tolist())
        hardness[policy] = float(of.member.loss(first[chosen], second[chosen]).mean())
    assert hardness["ordered"] > hardness["shuffled"] + 0.01
    assert hardness["spectral"] > hardness["shuffled"] + 0.01
    assert sorted(chosen.flatten().tolist()) == list(range(1024))


@pytest.mark.parametrize("loss", LOSSES)
def test_batches_can_be_chosen_by_every_loss(loss):
    (trial,) = trials("ordered", losses=[loss], size=16)
    assert feed(trial).of_epoch(0).shape == (64, 16)


@pytest.mark.parametrize("policy", ["ordered", "spectral"])
def test_a_member_chooses_for_itself_whoever_shares_its_pack(policy):
    pack = trials(policy, losses=["nt_xent", "dhel"], training={"updates": 20})
    together = train_pack(pack)
    for trial, shared in zip(pack, together, strict=True):
        (alone,) = train_pack([trial])
        assert alone.outcomes == shared.outcomes
        assert shared.cost["slice_size"] == 1


@pytest.mark.parametrize("policy", ["ordered", "spectral", "balanced"])
def test_a_trial_that_was_interrupted_goes_on_with_the_batches_it_had_chosen(policy, tmp_path, trained):
    pack = trials(policy, training={"updates": 37})
    (whole,) = train_pack(pack)
    seen = [images.clone() for images in trained]
    checkpoints, calls = Checkpoints(tmp_path / "pack", seconds=1e9), 0

    def interrupting(share):
        nonlocal calls
        calls += 1
        # In the middle of the first epoch of 16 updates, at its end, and in the third.
        if calls in (5, 16, 35):
            raise Interrupted

    trained.clear()
    for _ in range(3):
        with pytest.raises(Interrupted):
            train_pack(pack, checkpoints=checkpoints, on_progress=interrupting)
    (resumed,) = train_pack(pack, checkpoints=checkpoints, on_progress=interrupting)
    assert resumed.outcomes == whole.outcomes
    assert len(trained) == len(seen)
    assert all(torch.equal(one, other) for one, other in zip(trained, seen, strict=True))


def test_embeddings_that_are_no_numbers_are_shuffled_until_the_epoch_closes():
    (trial,) = trials("spectral", training={"updates": 20})
    of = feed(trial)
    for weights in of.member.network.parameters():
        weights.data.fill_(torch.nan)
    assert torch.equal(of.of_epoch(0), epoch_batches("shuffled", 1024, batch_size=64, seed=trial.seed, epoch=0))
    hot = trials("ordered", training={"updates": 20, "learning_rate": 1e30})
    assert train_pack(hot)[0].status == "diverged"


def test_images_are_clustered_some_at_once(monkeypatch):
    monkeypatch.setattr(batches, "SPECTRAL_IMAGES", 256)
    (trial,) = trials("spectral")
    found = feed(trial).of_epoch(0)
    assert found.shape == (16, 64)
    assert sorted(found.flatten().tolist()) == list(range(1024))
    assert set(BATCH_POLICIES) == {*SIZES, "all_subsets"}
