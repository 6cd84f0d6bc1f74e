"""Members in one batched computation are the members in a loop; and both go on from a checkpoint bit by bit."""

import copy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from studies_for_tests import tiny
from test_training import CPU, DEVICE, FUSE, KINDS, QUICK, bits, fixed_views, lockstep, one_of_each_loss, trials_of

from robustness.losses import LOSSES
from robustness.models import ENCODERS, TABLE
from robustness.training import Checkpoints, train_pack
from robustness.training.lockstep import Fused, Looped, runs
from robustness.training.member import members_of
from robustness.training.slices import FUSED_FLOPS, cost_of, slicing
from robustness.training.stacked import Stacked
from robustness.trial import Trial

# Neighbours with equal settings, settings that differ, and families that take turns.
FAMILIES = {
    "nt_xent": {"temperature": {"values": [0.1, 0.5]}},
    "dhel": {"temperature": 0.5, "learning_rate": {"values": [0.05, 0.1]}},
    "kcl_log": {"weight_decay": {"values": [0, 0.01]}},
}


def views_on(device, **kwargs):
    return tuple(view.to(device) for view in fixed_views(**kwargs))


def mixed_trials(**training):
    return trials_of(tiny(families=FAMILIES, training={"updates": 3, "precision": "float64"} | training, **QUICK))


def assert_equal_members(one, other, *, atol=1e-9):
    for a, b in zip(one.members, other.members, strict=True):
        for name, value in a.network.state_dict().items():
            torch.testing.assert_close(value, b.network.state_dict()[name], rtol=0, atol=atol, msg=name)


SETTINGS = [
    {},
    {"optimizer": "adamw", "learning_rate": 1e-3},
    {"optimizer": "lars"},
    {"clip_norm": 0.01},
    {"momentum": 0},
    {"warmup_epochs": 1, "schedule": "constant"},
    {"micro_batch": 24},
    {"channels_last": True},
]


@DEVICE
@pytest.mark.parametrize("training", SETTINGS, ids=str)
def test_fused_and_looped_members_take_the_same_steps(training, device):
    slices = [lockstep(kind, *mixed_trials(**training), device=device) for kind in (Looped, Fused)]
    for slice_ in slices:
        for _ in range(3):
            slice_.update(views_on(device, dtype=torch.float64))
    assert_equal_members(*slices)
    torch.testing.assert_close(slices[0].loss_sums, slices[1].loss_sums, rtol=1e-9, atol=1e-9)


@DEVICE
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@KINDS
def test_half_precision_trains_and_keeps_weights_and_losses_in_float32(kind, precision, device):
    half, full = (
        lockstep(kind, *mixed_trials(precision=name, updates=10), device=device) for name in (precision, "float32")
    )
    seen = []
    half.members[0].network.projector.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    for slice_ in (half, full):
        slice_.update(views_on(device))
    assert {w.dtype for member in half.members for w in member.network.parameters()} == {torch.float32}
    torch.testing.assert_close(half.loss_sums, full.loss_sums, rtol=0.02, atol=0)
    assert not torch.equal(half.loss_sums, full.loss_sums)
    # Scales that were too large have come down, and steps are made.
    for _ in range(9):
        half.update(views_on(device))
    assert all(member.close_epoch(0.0) is None and member.status == "ok" for member in half.members)
    assert all(scale_of(optimizer) > 1 for optimizer in half.optimizers) == (precision == "float16")
    if kind is Looped:
        assert set(seen) == {getattr(torch, precision)}


def scale_of(optimizer):
    return optimizer.scaler.get_scale()


def test_members_are_fused_by_neighbours_of_one_loss_and_of_equal_settings():
    large = trials_of(tiny(families=FAMILIES, **QUICK), batch_size=256)
    for apart in (mixed_trials(tile=32), large):
        assert [loss.rows for loss in lockstep(Fused, *apart).losses] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    fused = lockstep(Fused, *mixed_trials())
    # Families of the InfoNCE line are one where pairs are few.
    assert [loss.rows for loss in fused.losses] == [slice(0, 4), slice(4, 6)]
    assert [(o.learning_rates[0], rows) for o, rows in zip(fused.optimizers, fused.rows, strict=True)] == [
        (0.1, slice(0, 2)), (0.05, slice(2, 3)), (0.1, slice(3, 5)), (0.1, slice(5, 6)),
    ]  # fmt: skip


def test_runs_are_neighbours_of_equal_key():
    assert runs("aabbba", lambda letter: letter) == [slice(0, 2), slice(2, 5), slice(5, 6)]


def test_networks_see_the_weights_of_their_stack():
    members = members_of(mixed_trials(), CPU)
    stacked = Stacked([member.network for member in members])
    with torch.no_grad():
        for weights in stacked.parameters():
            weights[1] += 1
    images = fixed_views(dtype=torch.float64)[0]
    together = stacked(images)
    for place, member in enumerate(members):
        torch.testing.assert_close(together[:, place], member.network(images)[1], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(together[:, 0], together[:, 1])


def test_an_exception_in_a_fused_slice_ends_its_own_trial_only(monkeypatch):
    def broken(u, v, *, temperature):
        raise RuntimeError("no such thing")

    monkeypatch.setitem(LOSSES, "dcl", replace(LOSSES["dcl"], formula=broken))
    results = dict(zip(LOSSES, train_pack(one_of_each_loss(), fuse="always"), strict=True))
    assert (results["dcl"].status, results["dcl"].error) == ("error", "RuntimeError: no such thing")
    assert {r.status for name, r in results.items() if name != "dcl"} == {"ok"}
    assert {r.cost["fused"] for r in results.values()} == {False}


@DEVICE
@FUSE
@pytest.mark.parametrize(
    "training", [{}, {"optimizer": "adamw"}, {"optimizer": "lars"}, {"precision": "float16"}], ids=str
)
def test_a_pack_that_was_killed_goes_on_bit_by_bit(tmp_path, fuse, training, device):
    # 16 batches an epoch: killed in the middle of the second, with an evaluation behind it.
    study = tiny(families=FAMILIES, training={"epochs": 2} | training, model={"projector_batch_norm": True}, **QUICK)
    trials, keep = trials_of(study), Checkpoints(tmp_path / "pack", seconds=0)
    train = partial(train_pack, trials, every=1, fuse=fuse, device=torch.device(device))
    undisturbed = train()

    killed_at = 20 / 32

    def kill(share):
        if share > killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(checkpoints=keep, on_progress=kill)
    shares = []
    resumed = train(checkpoints=keep, on_progress=shares.append)
    assert min(shares) > killed_at
    assert [bits(r) for r in resumed] == [bits(r) for r in undisturbed]
    assert [[without_times(e) for e in r.history] for r in resumed] == [
        [without_times(e) for e in r.history] for r in undisturbed
    ]
    assert {r.status for r in resumed} == {"ok"}


@KINDS
def test_random_layers_draw_the_same_alone_in_a_pack_and_after_a_checkpoint(kind):
    def noisy(*trials):
        members = members_of(trials, CPU)
        for member in members:
            member.network.encoder.append(torch.nn.Dropout(0.5))
        return kind(members, CPU)

    trials, views = mixed_trials(), fixed_views(dtype=torch.float64)
    together, alone, state = noisy(*trials), noisy(trials[3]), None
    for _ in range(3):
        together.update(views)
    alone.update(views)
    state = copy.deepcopy(alone.state_dict())
    torch.rand(100)
    resumed = noisy(trials[3])
    resumed.load_state_dict(state)
    for _ in range(2):
        resumed.update(views)
    for name, value in together.members[3].network.state_dict().items():
        torch.testing.assert_close(value, resumed.members[0].network.state_dict()[name], rtol=0, atol=1e-9)


def test_training_leaves_the_callers_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train_pack(mixed_trials()[:1])
    assert torch.equal(torch.get_rng_state(), before)


def without_times(epoch):
    return repr({name: value for name, value in epoch.items() if "seconds" not in name})


def test_slices_that_are_done_are_not_trained_again(tmp_path, monkeypatch):
    trials, keep = mixed_trials(), Checkpoints(tmp_path, seconds=0)
    monkeypatch.setattr("robustness.training.slices.SLICE_BYTES", 4 * 2**20)
    size = slicing(trials, CPU).size
    assert size < len(trials)

    def kill(share):
        if share > 0.9:
            raise KeyboardInterrupt

    undisturbed = train_pack(trials)
    with pytest.raises(KeyboardInterrupt):
        train_pack(trials, checkpoints=keep, on_progress=kill)
    shares = []
    assert [bits(r) for r in train_pack(trials, checkpoints=keep, on_progress=shares.append)] == [
        bits(r) for r in undisturbed
    ]
    assert min(shares) > 1 - size / len(trials)


@pytest.mark.parametrize("damage", ["other trials", "truncated", "empty"])
def test_a_checkpoint_that_does_not_fit_is_not_used(tmp_path, damage):
    keep = Checkpoints(tmp_path, seconds=0)
    trials = mixed_trials()
    train_pack(trials if damage != "other trials" else trials[:2], checkpoints=keep)
    if damage != "other trials":
        content = keep.path.read_bytes()
        keep.path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    shares = []
    train_pack(trials, checkpoints=keep, on_progress=shares.append)
    assert min(shares) < 0.5


def test_no_checkpoint_before_its_time(tmp_path):
    train_pack(mixed_trials(), checkpoints=Checkpoints(tmp_path / "pack", seconds=3600))
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize("batch_size", [16, 64, 256])
def test_small_steps_are_fused_and_large_ones_are_not(batch_size):
    study = tiny(families=FAMILIES, axes={"batch_size": {"values": [batch_size]}})
    trials = trials_of(study, batch_size=batch_size)
    cost = cost_of(trials[0])
    # Two operations a weight, biases aside.
    assert cost.operations == 2 * (64 * 256 + 256 * 128 + 128 * 128 + 128 * 32)
    assert slicing(trials, CPU).fused == (2 * batch_size * cost.operations <= FUSED_FLOPS)
    assert slicing(trials, CPU, fuse="always").fused
    assert not slicing(trials, CPU, fuse="never").fused


def test_slices_follow_from_the_trials_alone(monkeypatch):
    trials = mixed_trials()
    assert slicing(trials, CPU) == slicing(trials, CPU)
    monkeypatch.setattr("robustness.training.slices.SLICE_BYTES", 1)
    assert slicing(trials, CPU).size == 1


def test_on_a_gpu_a_slice_takes_its_share_of_what_the_process_may_use(monkeypatch):
    trials, sizes = mixed_trials() * 100, []
    for memory, share in ((2**30, 1.0), (2**30, 0.5), (2**30, 0.25), (2**28, 1.0)):
        gpu = SimpleNamespace(total_memory=memory)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, gpu=gpu: gpu)
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device, share=share: share)
        sizes.append(slicing(trials, torch.device("cuda")).size)
    whole, half, quarter, smaller = sizes
    assert len(trials) > whole > 1
    assert [half, quarter] == [pytest.approx(whole / 2, abs=1), pytest.approx(whole / 4, abs=1)]
    # A quarter of a large GPU and the whole of a small one.
    assert smaller == quarter


def trial_with(trial, **model):
    return Trial(**{**{f: getattr(trial, f) for f in trial.__dataclass_fields__}, "model": {**trial.model, **model}})


@pytest.mark.parametrize("encoder", sorted(set(ENCODERS) - {TABLE}))
def test_every_encoder_fused_and_looped_agree(encoder):
    study = tiny(families={"dhel": {}}, training={"updates": 5, "precision": "float64"}, axes__batch_size__values=[16])
    (trial,) = trials_of(study, batch_size=16)
    trials = [
        trial_with(replace(trial, loss=loss), encoder=encoder, projector_batch_norm=True) for loss in ("dhel", "dcl")
    ]
    slices = [lockstep(kind, *trials) for kind in (Looped, Fused)]
    for slice_ in slices:
        for _ in range(5):
            slice_.update(fixed_views(16, dtype=torch.float64))
    # Behind 50 layers so few images have one pixel left: dividing by their variances amplifies rounding.
    assert_equal_members(*slices, atol=5e-9 if encoder == "resnet50" else 1e-9)
    statistics = [name for name in slices[0].members[0].network.state_dict() if "running_mean" in name]
    assert statistics
    one, other = (member.network.state_dict() for member in slices[1].members)
    assert not torch.equal(one[statistics[-1]], other[statistics[-1]])
