import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import wilcoxon
from studies_for_tests import tiny

from robustness.losses import LOSSES, Loss
from robustness.plan import plan
from robustness.store import OUTCOMES
from robustness.training import pack as pack_module
from robustness.training import train_pack
from robustness.training.lockstep import Fused, Lockstep, Looped
from robustness.training.member import members_of
from robustness.training.schedule import learning_rates
from robustness.training.slices import Slicing
from robustness.trial import Trial


def trials_of(study, seed=0, batch_size=64):
    rows = plan(study)
    rows = rows[(rows["seed"] == seed) & (rows["batch_size"] == batch_size)]
    return [Trial.from_json(text) for text in rows["trial"]]


# Linear probes take nearly all the time of a short trial.
QUICK = {"evaluation": {"probes": ["knn"], "images": 64}, "analysis": {"outcome": "knn_top1"}}


def one_of_each_loss(**changes):
    return trials_of(tiny(families={name: {} for name in LOSSES}, **QUICK | changes))


CPU = torch.device("cpu")
KINDS = pytest.mark.parametrize("kind", [Looped, Fused])
FUSE = pytest.mark.parametrize("fuse", ["always", "never"])


DEVICE = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
    ],
)


def lockstep(kind, *trials, device=CPU):
    return kind(members_of(trials, torch.device(device)), torch.device(device))


def bits(result):
    return repr({name: result.outcomes.get(name) for name in OUTCOMES}) + repr(result.status)


@FUSE
def test_a_trial_alone_and_in_a_pack_agree(fuse):
    trials = one_of_each_loss(training={"updates": 5, "precision": "float64"})
    together = train_pack(trials, fuse=fuse)
    assert {result.cost["fused"] for result in together} == {fuse == "always"}
    assert {result.status for result in together} == {"ok"}
    for trial, packed in zip(trials, together, strict=True):
        (alone,) = train_pack([trial], fuse="never")
        for name, value in packed.outcomes.items():
            if isinstance(value, str):
                assert value == alone.outcomes[name], name
            else:
                # Small singular values are as exact as the largest allows.
                largest = max(value) if isinstance(value, list) else 1
                close = pytest.approx(value, rel=1e-9, abs=1e-9 * max(largest, 1), nan_ok=True)
                assert alone.outcomes[name] == close, name


@FUSE
def test_the_same_pack_gives_the_same_bits(fuse):
    trials = one_of_each_loss()
    first, again = train_pack(trials, fuse=fuse), train_pack(trials, fuse=fuse)
    assert {result.status for result in first} == {"ok"}
    assert [bits(r) for r in first] == [bits(r) for r in again]


GOLDEN = {
    "info_nce": [4.048533348, 13.65060939, -0.8719826671],
    "nt_xent": [4.74687775, 13.02944205, -0.8794380952],
    "dcl": [4.739341714, 12.80596392, -0.8681050456],
    "dhel": [4.052165975, 12.64494411, -0.8912599936],
    "dhel_sum": [11.78147442, 15.65276427, -0.8302053554],
    "info_nce_one_sided": [4.059570276, 13.06668724, -0.8835214761],
    "dhel_one_sided": [4.095385674, 7.219544164, -0.6544633157],
    "kcl_gaussian": [13.80878746, 1.623433533, -0.1349747384],
    "kcl_log": [-0.8503940106, 2.751205723, -0.2749830784],
    "kcl_imq": [14.59153512, 2.806012216, -0.3358316507],
    "kcl_riesz": [-3.370247964, 2.910780078, -0.2602837416],
    "kcl_gaussian_riesz": [227.9132542, 2.470048937, -0.5150105269],
    "kcl_laplace": [7.625712183, 5.802835767, -0.4549551202],
    "kcl_linear_gaussian": [13.77569111, 1.5816206, -0.1291583947],
    "info_nce_epsilon": [0.9520058776, 16.44689601, -1.071780016],
    "mine": [4.809689025, 18.51633403, -1.080322454],
    "triplet": [11.90538981, 1.354983224, -0.1704190958],
    "soft_triplet": [0.9718295038, 16.45088928, -1.071823033],
    "n_plus_one_tuplet": [4.818019649, 18.45255658, -1.080817462],
    "lifted_structured": [33.72164483, 4.771489711, -0.6107935987],
    "modified_triplet": [56.34074591, 3.950573069, -0.3642091389],
    "triplet_contrastive": [-1.319623357, 1.299627769, -0.1462753949],
    "alpha_entropy": [-0.02058923628, 17.89401044, -1.078856017],
    "alpha_direct": [-0.02589115732, 18.75586677, -1.080865669],
    "alpha_inverse": [-0.02272927906, 18.16345279, -1.079800875],
    "alpha_square": [0.01626356373, 9.408800036, -0.9819632704],
    "alpha_direct_backprop": [-0.02434917778, 17.9802947, -1.078699506],
    "align_uniform": [-0.2985714006, 2.55415109, -0.4182408395],
    "siglip": [39.72447929, 1.09745165, -0.03163281852],
    "spectral": [-1.026539134, 15.21191879, -1.059767157],
    "nt_xent_vrns": [33.63887736, 1.340142303, -0.08791160507],
    "temperature_free": [4.636449572, 13.16304511, -0.7668363489],
    "barlow_twins": [14.70071719, 1.342777665, -0.07285335402],
    "vicreg": [49.39913569, 11.38966789, -0.9125366757],
}


def test_five_updates_of_every_loss_score_what_they_always_scored():
    # A change here means that the same trial scores differently: raise PROTOCOL_VERSION and say so in CHANGELOG.md.
    training, evaluation = {"updates": 5, "precision": "float64"}, {"probes": ["knn"]}
    trials = one_of_each_loss(training=training, evaluation=evaluation)
    for trial, result in zip(trials, train_pack(trials), strict=True):
        found = [result.outcomes[name] for name in ("final_loss", "z_effective_rank", "h_uniformity")]
        assert found == pytest.approx(GOLDEN[trial.loss], rel=1e-7), trial.loss


@FUSE
def test_results_do_not_depend_on_slices(monkeypatch, fuse):
    trials = one_of_each_loss(training={"updates": 5, "precision": "float64"})
    whole = train_pack(trials, fuse=fuse)
    monkeypatch.setattr(pack_module, "slicing", lambda *args, **kwargs: Slicing(5, fused=kwargs["fuse"] == "always"))
    sliced = train_pack(trials, fuse=fuse)
    assert {r.cost["slice_size"] for r in sliced} == {5, len(trials) % 5 or 5}
    for a, b in zip(whole, sliced, strict=True):
        assert a.outcomes["final_loss"] == pytest.approx(b.outcomes["final_loss"], rel=1e-9)


def test_slices_of_another_size_train_to_the_same_distribution_of_outcomes(monkeypatch):
    # Training amplifies the last digits of float32: single outcomes move by points, their distribution must not.
    temperatures = {"temperature": {"low": 0.05, "high": 1.0, "scale": "log", "levels": 6}}
    study = tiny(families=dict.fromkeys(("nt_xent", "dhel"), temperatures), training={"epochs": 5}, seeds=4)
    packs = [trials_of(study, seed=seed) for seed in range(4)]
    scores = {}
    for slicing in (Slicing(12, fused=True), Slicing(5, fused=True), Slicing(12, fused=False)):
        monkeypatch.setattr(pack_module, "slicing", lambda *args, slicing=slicing, **kwargs: slicing)
        results = [result for trials in packs for result in train_pack(trials)]
        scores[slicing] = [[r.outcomes[name] for name in ("linear_top1", "z_effective_rank")] for r in results]
    whole, *others = map(np.array, scores.values())
    for other in others:
        assert not np.array_equal(whole, other)
        for outcome in range(2):
            # One test at .01, of four comparisons.
            assert wilcoxon(whole[:, outcome], other[:, outcome]).pvalue > 0.01 / 4


@pytest.fixture
def seen(monkeypatch):
    """What each loss was shown first and what its network began with."""
    views, weights = {}, {}
    update = Lockstep.update

    def recorded(self, batch):
        for member in self.members:
            key = member.trial.loss
            views.setdefault(key, []).append(torch.cat(batch))
            weights.setdefault(key, torch.cat([w.detach().flatten().clone() for w in member.network.parameters()]))
        update(self, batch)

    monkeypatch.setattr(Lockstep, "update", recorded)
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
    # The learning rate suits losses that sum over all negatives, too.
    trials = one_of_each_loss(training={"epochs": 2, "momentum": 0, "learning_rate": 1e-3})
    for trial, result in zip(trials, train_pack(trials, every=1), strict=True):
        losses = [epoch["final_loss"] for epoch in result.history]
        assert losses[-1] < losses[0], trial.loss


@KINDS
def test_the_first_step_is_the_gradient_step_of_the_loss(kind):
    (trial,) = trials_of(tiny(families={"dhel": {"temperature": 0.5}}, training={"updates": 1, "precision": "float64"}))
    slice_ = lockstep(kind, trial)
    (member,) = slice_.members
    before = [w.detach().clone() for w in member.network.parameters()]
    network, views = trainable_copy(member.network), fixed_views(dtype=torch.float64)
    z = [network(view)[1] for view in views]
    gradients = torch.autograd.grad(LOSSES["dhel"](*z, temperature=0.5), list(network.parameters()))
    slice_.update(views)
    for old, new, gradient in zip(before, member.network.parameters(), gradients, strict=True):
        torch.testing.assert_close(new.detach(), old - 0.1 * gradient, rtol=1e-9, atol=1e-12)


@KINDS
@pytest.mark.parametrize("size", [64, 24])
def test_a_later_step_has_the_gradient_of_its_own_weights_and_trains_batch_norm(kind, size):
    training = {"updates": 2, "precision": "float64", "micro_batch": size, "momentum": 0}
    (trial,) = trials_of(tiny(families={"dhel": {}}, training=training, model={"projector_batch_norm": True}))
    slice_, views = lockstep(kind, trial), fixed_views(dtype=torch.float64)
    (member,) = slice_.members
    slice_.update(views)
    network = trainable_copy(member.network)
    micro_batches = [torch.cat([view[k : k + size] for view in views]) for k in range(0, 64, size)]
    halves = zip(*(network(images)[1].chunk(2) for images in micro_batches), strict=True)
    LOSSES["dhel"](*(torch.cat(parts) for parts in halves), **member.hyperparameters).backward()
    slice_.update(views)
    rate = member.learning_rates[1]
    for one, other in zip(network.parameters(), member.network.parameters(), strict=True):
        torch.testing.assert_close(one.detach() - rate * one.grad, other.detach(), rtol=0, atol=1e-9)
    for one, other in zip(network.buffers(), member.network.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert member.network.projector[1].num_batches_tracked == 2 * len(micro_batches)


@FUSE
@pytest.mark.parametrize("memory", [{}, {"micro_batch": 24, "tile": 16}])
def test_a_diverging_member_is_null_and_leaves_the_others_alone(memory, fuse):
    families = {"dhel": {"learning_rate": {"values": [0.1, 1e30]}, "temperature": 0.5}}
    study = tiny(families=families, training={"epochs": 2, **memory}, **QUICK)
    calm, wild = train_pack(trials_of(study), every=1, fuse=fuse)
    assert (calm.status, wild.status) == ("ok", "diverged")
    assert wild.outcomes == {}
    assert "not finite" in wild.error
    (alone,) = train_pack(trials_of(study)[:1], every=1, fuse=fuse)
    assert alone.outcomes["final_loss"] == pytest.approx(calm.outcomes["final_loss"], rel=1e-4)
    if fuse == "never":
        assert bits(calm) == bits(alone)


@FUSE
@pytest.mark.parametrize("memory", [{}, {"micro_batch": 24, "tile": 16}])
def test_weights_that_are_not_numbers_mean_diverged_and_no_error_for_every_loss(memory, fuse):
    trials = one_of_each_loss(training={"updates": 3, "learning_rate": 1e30, **memory})
    ends = {trial.loss: (r.status, r.error) for trial, r in zip(trials, train_pack(trials, fuse=fuse), strict=True)}
    assert {name: end for name, end in ends.items() if end[0] != "diverged"} == {}


def test_a_huge_learning_rate_that_stays_finite_is_ok():
    study = tiny(families={"dhel": {"learning_rate": 1e6, "temperature": 0.5}}, training={"epochs": 2})
    (result,) = train_pack(trials_of(study))
    assert result.status == "ok"
    assert result.outcomes["collapse"] in ("complete", "dimensional", "none")


def test_a_loss_that_raises_ends_its_own_trial_only(monkeypatch):
    def broken(u, v, *, temperature):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setitem(LOSSES, "dcl", replace(LOSSES["dcl"], formula=broken))
    results = dict(zip(LOSSES, train_pack(one_of_each_loss()), strict=True))
    assert (results["dcl"].status, results["dcl"].error) == ("error", "RuntimeError: first line second line")
    assert {r.status for name, r in results.items() if name != "dcl"} == {"ok"}


def fixed_views(num_images=64, dtype=torch.float32):
    generators = [torch.Generator().manual_seed(k) for k in (0, 1)]
    return tuple(torch.rand(num_images, 1, 8, 8, generator=generator).to(dtype) for generator in generators)


def trainable_copy(network):
    return copy.deepcopy(network).requires_grad_()


@KINDS
@pytest.mark.parametrize("memory", [{"micro_batch": 24}, {"micro_batch": 999}, {"tile": 24}])
def test_what_saves_memory_changes_no_step_of_any_loss(kind, memory):
    training = {"updates": 2, "precision": "float64"}
    plain, spared = one_of_each_loss(training=training), one_of_each_loss(training=training | memory)
    assert not {trial.trial_id for trial in plain} & {trial.trial_id for trial in spared}
    slices = [lockstep(kind, *trials) for trials in (plain, spared)]
    for slice_ in slices:
        for _ in range(2):
            slice_.update(fixed_views(dtype=torch.float64))
    torch.testing.assert_close(slices[0].loss_sums, slices[1].loss_sums, rtol=1e-9, atol=1e-9)
    for one, other in zip(*(slice_.members for slice_ in slices), strict=True):
        for weights, same in zip(one.network.parameters(), other.network.parameters(), strict=True):
            torch.testing.assert_close(weights, same, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("micro_batch", "sizes"), [(None, [128]), (24, [48, 48, 32, 48, 48, 32]), (64, [128]), (65, [128])]
)
def test_an_encoder_sees_both_views_of_a_micro_batch_at_a_time(micro_batch, sizes):
    (trial,) = trials_of(tiny(families={"dhel": {}}, training={"updates": 1, "micro_batch": micro_batch}))
    slice_, seen = lockstep(Looped, trial), []
    (member,) = slice_.members
    member.network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    slice_.update(fixed_views())
    assert [len(images) for images in seen] == sizes
    first = fixed_views()[1][: sizes[0] // 2]
    torch.testing.assert_close(seen[0][sizes[0] // 2 :], (first - member.network.mean) / member.network.deviation)


@KINDS
@pytest.mark.parametrize("tile", [None, 24])
def test_a_loss_is_given_the_tile_of_the_study(monkeypatch, kind, tile):
    compute, seen = Loss.compute, []

    def recorded(self, u, v, *, tile, **hyperparameters):
        seen.append(tile)
        return compute(self, u, v, tile=tile, **hyperparameters)

    monkeypatch.setattr(Loss, "compute", recorded)
    (trial,) = trials_of(tiny(families={"dhel": {}}, training={"updates": 1, "tile": tile}))
    lockstep(kind, trial).update(fixed_views())
    assert seen == [tile]


def test_a_loss_that_needs_the_number_of_training_images_is_told(monkeypatch):
    seen = {}

    def recorded(u, v, **hyperparameters):
        seen.update(hyperparameters)
        return (u - v).square().mean()

    monkeypatch.setitem(LOSSES, "nt_xent_vrns", replace(LOSSES["nt_xent_vrns"], formula=recorded))
    (trial,) = trials_of(tiny(families={"nt_xent_vrns": {"weight": 3, "temperature": 0.5}}))
    lockstep(Looped, trial).update(fixed_views())
    assert seen == {"weight": 3.0, "temperature": 0.5, "num_images": 1024.0}
    assert {type(value) for value in seen.values()} == {float}


def test_out_of_memory_halves_the_slice_and_ends_at_one(monkeypatch):
    original, sizes = pack_module._Pack._train_slice, []

    def limited(self, trials):
        sizes.append(len(trials))
        if len(trials) > 2 or any(trial.loss == "kcl_log" for trial in trials):
            raise torch.OutOfMemoryError("out of memory")
        return original(self, trials)

    monkeypatch.setattr(pack_module._Pack, "_train_slice", limited)
    results = dict(zip(LOSSES, train_pack(one_of_each_loss()), strict=True))
    assert sizes[0] == len(LOSSES)
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
    train_pack(one_of_each_loss(training={"epochs": 2})[:2], on_progress=shares.append)
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


@KINDS
def test_clipping_bounds_the_first_step_of_each_member(kind):
    families = {"kcl_log": {"gamma": {"values": [0.5, 64]}, "learning_rate": {"values": [0.1, 0.2]}}}
    study = tiny(families=families, training={"updates": 1, "clip_norm": 1e-3, "momentum": 0})
    slice_ = lockstep(kind, *trials_of(study))
    before = [flat(member) for member in slice_.members]
    slice_.update(fixed_views())
    for member, old in zip(slice_.members, before, strict=True):
        rate = member.trial.training["learning_rate"]
        assert float((flat(member) - old).norm()) == pytest.approx(rate * 1e-3, rel=1e-3)


def flat(member):
    return torch.cat([w.detach().flatten().clone() for w in member.network.parameters()])


def test_adamw_trains_too():
    study = tiny(families={"dhel": {}}, training={"epochs": 2, "optimizer": "adamw", "learning_rate": 1e-3})
    (result,) = train_pack(trials_of(study), every=1)
    assert result.history[-1]["final_loss"] < result.history[0]["final_loss"]


@FUSE
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_agrees_with_the_cpu(fuse):
    trials = one_of_each_loss(training={"updates": 5, "precision": "float64"})
    cpu, gpu = train_pack(trials, fuse=fuse), train_pack(trials, fuse=fuse, device=torch.device("cuda"))
    for a, b in zip(cpu, gpu, strict=True):
        assert a.outcomes["final_loss"] == pytest.approx(b.outcomes["final_loss"], rel=1e-9)
