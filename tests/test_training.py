import math

import pytest
import torch
from studies_for_tests import tiny

from robustness.losses import LOSSES
from robustness.plan import plan
from robustness.store import OUTCOMES
from robustness.training import pack as pack_module
from robustness.training import train_pack
from robustness.training.member import Member
from robustness.training.schedule import learning_rates
from robustness.trial import Trial


def trials_of(study, seed=0, batch_size=64):
    rows = plan(study)
    rows = rows[(rows["seed"] == seed) & (rows["batch_size"] == batch_size)]
    return [Trial.from_json(text) for text in rows["trial"]]


def one_of_each_loss(**changes):
    families = {name: {} for name in LOSSES}
    return trials_of(tiny(families=families, **changes))


def bits(result):
    return repr({name: result.outcomes.get(name) for name in OUTCOMES}) + repr(result.status)


def test_a_trial_alone_and_in_a_pack_agree():
    trials = one_of_each_loss(training={"updates": 5, "precision": "float64"})
    together = train_pack(trials)
    assert {result.status for result in together} == {"ok"}
    for trial, packed in zip(trials, together, strict=True):
        (alone,) = train_pack([trial])
        for name, value in packed.outcomes.items():
            assert value == alone.outcomes[name] or alone.outcomes[name] == pytest.approx(value, abs=1e-9), name


def test_the_same_pack_gives_the_same_bits():
    trials = one_of_each_loss()
    assert {result.status for result in train_pack(trials)} == {"ok"}
    assert [bits(r) for r in train_pack(trials)] == [bits(r) for r in train_pack(trials)]


GOLDEN = {
    "info_nce": [4.007225298, 18.69810589, -0.9750373312],
    "nt_xent": [4.68607082, 18.62138797, -0.965452309],
    "dcl": [4.674814755, 18.55495426, -0.9634004492],
    "dhel": [3.97868348, 18.31897605, -0.9574709882],
    "kcl_gaussian": [13.85483356, 1.554326231, -0.1095609763],
    "kcl_log": [-0.7970202543, 2.605944925, -0.2293271848],
    "kcl_imq": [14.60619599, 3.290621863, -0.4159261281],
}


@pytest.mark.parametrize("loss", LOSSES)
def test_five_updates_score_what_they_always_scored(loss):
    # A change here means that the same trial scores differently: raise PROTOCOL_VERSION and say so in CHANGELOG.md.
    families = {loss: {}}
    (result,) = train_pack(trials_of(tiny(families=families, training={"updates": 5, "precision": "float64"})))
    found = [result.outcomes[name] for name in ("final_loss", "z_effective_rank", "h_uniformity")]
    assert found == pytest.approx(GOLDEN[loss], rel=1e-7)


def test_results_do_not_depend_on_slices(monkeypatch):
    trials = one_of_each_loss(training={"updates": 5, "precision": "float64"})
    whole = train_pack(trials)
    monkeypatch.setattr(pack_module, "slice_size", lambda trials: 2)
    sliced = train_pack(trials)
    assert {r.cost["slice_size"] for r in sliced} == {2, 1}
    for a, b in zip(whole, sliced, strict=True):
        assert a.outcomes["final_loss"] == pytest.approx(b.outcomes["final_loss"], rel=1e-9)


@pytest.fixture
def seen(monkeypatch):
    """What each loss was shown first and what its network began with."""
    views, weights = {}, {}
    update = Member.update

    def recorded(self, batch):
        key = self.trial.loss
        views.setdefault(key, []).append(torch.cat(batch))
        weights.setdefault(key, torch.cat([w.detach().flatten().clone() for w in self.network.parameters()]))
        update(self, batch)

    monkeypatch.setattr(Member, "update", recorded)
    return views, weights


def test_all_families_see_the_same_images_augmentations_and_initial_weights(seen):
    views, weights = seen
    for trial in one_of_each_loss():
        train_pack([trial])
    assert set(views) == set(LOSSES)
    first = next(iter(LOSSES))
    for name in LOSSES:
        assert torch.equal(weights[name], weights[first])
        assert len(views[name]) == 5
        assert all(torch.equal(a, b) for a, b in zip(views[name], views[first], strict=True))


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 256}])
def test_another_seed_or_batch_size_sees_other_batches(seen, change):
    views, _ = seen
    study = tiny(families={"dhel": {}, "dcl": {}})
    train_pack([t for t in trials_of(study) if t.loss == "dhel"])
    train_pack([t for t in trials_of(study, **change) if t.loss == "dcl"])
    assert not torch.equal(views["dhel"][0][:64], views["dcl"][0][:64])


def test_updates_reduce_the_loss_they_minimise():
    for trial in one_of_each_loss(training={"epochs": 3, "momentum": 0}):
        (result,) = train_pack([trial], every=1)
        losses = [epoch["final_loss"] for epoch in result.history]
        assert losses[-1] < losses[0], trial.loss


def test_the_first_step_is_the_gradient_step_of_the_loss():
    (trial,) = trials_of(tiny(families={"dhel": {"temperature": 0.5}}, training={"updates": 1, "precision": "float64"}))
    member = Member(trial, torch.device("cpu"))
    before = [w.detach().clone() for w in member.network.parameters()]
    views = tuple(torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    z = [member.network(view.double())[1] for view in views]
    gradients = torch.autograd.grad(LOSSES["dhel"](*z, temperature=0.5), list(member.network.parameters()))
    member.update(views)
    for old, new, gradient in zip(before, member.network.parameters(), gradients, strict=True):
        torch.testing.assert_close(new.detach(), old - 0.1 * gradient, rtol=1e-9, atol=1e-12)


def test_a_diverging_member_is_null_and_leaves_the_others_alone():
    study = tiny(
        families={"dhel": {"learning_rate": {"values": [0.1, 1e30]}, "temperature": 0.5}}, training={"epochs": 2}
    )
    calm, wild = train_pack(trials_of(study), every=1)
    assert (calm.status, wild.status) == ("ok", "diverged")
    assert wild.outcomes == {}
    assert "not finite" in wild.error
    (alone,) = train_pack(trials_of(study)[:1], every=1)
    assert bits(calm) == bits(alone)


def test_a_huge_learning_rate_that_stays_finite_is_ok():
    study = tiny(families={"dhel": {"learning_rate": 1e6, "temperature": 0.5}}, training={"epochs": 2})
    (result,) = train_pack(trials_of(study))
    assert result.status == "ok"
    assert result.outcomes["collapse"] in ("complete", "dimensional", "none")


def test_a_loss_that_raises_ends_its_own_trial_only(monkeypatch):
    def broken(u, v, *, temperature):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setitem(LOSSES, "dcl", broken)
    results = dict(zip(LOSSES, train_pack(one_of_each_loss()), strict=True))
    assert (results["dcl"].status, results["dcl"].error) == ("error", "RuntimeError: first line second line")
    assert {r.status for name, r in results.items() if name != "dcl"} == {"ok"}


def test_out_of_memory_halves_the_slice_and_ends_at_one(monkeypatch):
    original, sizes = pack_module._train_slice, []

    def limited(trials, *args, **kwargs):
        sizes.append(len(trials))
        if len(trials) > 2 or any(trial.loss == "kcl_log" for trial in trials):
            raise torch.OutOfMemoryError("out of memory")
        return original(trials, *args, **kwargs)

    monkeypatch.setattr(pack_module, "_train_slice", limited)
    results = dict(zip(LOSSES, train_pack(one_of_each_loss()), strict=True))
    assert sizes[0] == 7
    assert {name for name, r in results.items() if r.status == "out_of_memory"} == {"kcl_log"}
    assert {r.status for name, r in results.items() if name != "kcl_log"} == {"ok"}


def test_untrained_makes_no_update_and_measures_the_initial_weights():
    rows = plan(tiny())
    (trial,) = [Trial.from_json(text) for text in rows["trial"][(rows["loss"] == "untrained") & (rows["seed"] == 0)]]
    (result,) = train_pack([trial])
    assert (result.status, result.updates, result.images) == ("ok", 0, 0)
    assert result.outcomes["final_loss"] is None
    assert 0.8 < result.outcomes["linear_top1"] <= 1


def test_history_holds_every_evaluated_epoch_and_the_end():
    (trial,) = trials_of(tiny(families={"dhel": {}}, training={"epochs": 3}))
    (result,) = train_pack([trial], every=2)
    assert [epoch["epoch"] for epoch in result.history] == [2.0, 3.0]
    assert result.history[-1]["linear_top1"] == result.outcomes["linear_top1"]
    assert "linear_top1" not in result.history[0]
    assert (result.epochs, result.updates, result.images) == (3.0, 48, 3072)


def test_looking_more_often_changes_no_result():
    trials = one_of_each_loss(training={"epochs": 2})[:2]
    assert [bits(r) for r in train_pack(trials)] == [bits(r) for r in train_pack(trials, every=1)]


def test_progress_rises_to_one():
    shares = []
    train_pack(one_of_each_loss(training={"epochs": 2}), on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_schedule_warms_up_and_falls_along_half_a_cosine():
    training = {"learning_rate": 0.4, "learning_rate_scaling": "none", "batch_size": 64, "warmup_epochs": 1}
    rates = learning_rates(training | {"schedule": "cosine"}, total=110, steps_per_epoch=10)
    assert rates[:10] == pytest.approx([0.04 * k for k in range(1, 11)])
    assert rates[10] == pytest.approx(0.4)
    assert rates[60] == pytest.approx(0.2)
    assert rates[-1] == pytest.approx(0.4 * (1 + math.cos(math.pi * 0.99)) / 2)
    constant = learning_rates(training | {"schedule": "constant"}, total=30, steps_per_epoch=10)
    assert set(constant[10:]) == {0.4}


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1), ("linear", 0.25), ("sqrt", 0.5)])
def test_learning_rates_scale_with_the_batch_size_from_256(scaling, factor):
    training = {"learning_rate": 0.4, "learning_rate_scaling": scaling, "batch_size": 64, "warmup_epochs": 0}
    assert learning_rates(training | {"schedule": "constant"}, total=2, steps_per_epoch=1) == pytest.approx(
        [0.4 * factor] * 2
    )


def test_clipping_bounds_the_first_step():
    study = tiny(families={"kcl_log": {"gamma": 64}}, training={"updates": 1, "clip_norm": 1e-3, "momentum": 0})
    (trial,) = trials_of(study)
    member = Member(trial, torch.device("cpu"))
    before = torch.cat([w.detach().flatten().clone() for w in member.network.parameters()])
    member.update(tuple(torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(k)) for k in (0, 1)))
    step = torch.cat([w.detach().flatten() for w in member.network.parameters()]) - before
    assert float(step.norm()) == pytest.approx(0.1 * 1e-3, rel=1e-3)


def test_adamw_trains_too():
    study = tiny(families={"dhel": {}}, training={"epochs": 2, "optimizer": "adamw", "learning_rate": 1e-3})
    (result,) = train_pack(trials_of(study), every=1)
    assert result.history[-1]["final_loss"] < result.history[0]["final_loss"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_agrees_with_the_cpu():
    trials = one_of_each_loss(training={"updates": 5, "precision": "float64"})
    cpu, gpu = train_pack(trials), train_pack(trials, device=torch.device("cuda"))
    for a, b in zip(cpu, gpu, strict=True):
        assert a.outcomes["final_loss"] == pytest.approx(b.outcomes["final_loss"], rel=1e-9)
