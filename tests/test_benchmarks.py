import importlib
import json
import math
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from robustness.data import two_views
from robustness.losses import LOSSES
from robustness.metrics import knn_top1, linear_probe
from robustness.models import build
from robustness.plan import plan
from search_spaces.datasets import DATASETS

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
losses = importlib.import_module("losses")
loss_memory = importlib.import_module("loss_memory")
loss_report = importlib.import_module("loss_report")
loss_timing = importlib.import_module("loss_timing")
SETTINGS = importlib.import_module("loss_peers").SETTINGS
PEERS = importlib.import_module("loss_peers").PEERS
common_random_numbers = importlib.import_module("common_random_numbers")
quickstart_work = importlib.import_module("quickstart_work")
step_floor = importlib.import_module("step_floor")
sweep = importlib.import_module("sweep")
sweep_report = importlib.import_module("sweep_report")
sweep_turns = importlib.import_module("sweep_turns")
tune_baseline = importlib.import_module("tune_baseline")

LIBRARIES = {"lightly": "lightly", "pml": "pytorch_metric_learning", "pml_supcon": "pytorch_metric_learning"}
NUM_IMAGES, DIM = 8, 6
same_formula = pytest.mark.parametrize(
    ("family", "column"),
    [(family, column) for family, peers in PEERS.items() for column in peers if column != "lightly_nt_xent"],
)


def value_and_gradients(loss):
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(NUM_IMAGES, DIM, dtype=torch.float64, generator=generator)
    v = u + torch.randn(NUM_IMAGES, DIM, dtype=torch.float64, generator=generator)
    views = [u.requires_grad_(), v.requires_grad_()]
    value = loss(*views)
    return torch.cat([value.detach().reshape(1), *(x.flatten() for x in torch.autograd.grad(value, views))])


@same_formula
def test_a_peer_has_our_value_and_gradient(family, column):
    if column in LIBRARIES:
        pytest.importorskip(LIBRARIES[column])
    peer = PEERS[family][column]
    theirs = value_and_gradients(peer.build(SETTINGS[family], DIM)) * peer.scale(NUM_IMAGES)
    ours = value_and_gradients(loss_memory.ours(family, None))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_every_family_has_settings():
    assert set(SETTINGS) == set(LOSSES)


def test_a_small_run_writes_every_figure(tmp_path, capsys):
    file = tmp_path / "rows.json"
    arguments = ["--sizes", "16", "--families", "dcl", "barlow_twins", "--repeats", "1", "--json", str(file)]
    assert losses.main(arguments) == 0
    dcl, barlow_twins = json.loads(file.read_text())
    assert dcl["family"] == "dcl"
    assert dcl["size"] == 16
    assert dcl["ours_ms"] > 0
    assert dcl["floor_ms"] > 0
    assert dcl["plain_ratio"] == pytest.approx(dcl["plain_ms"] / dcl["ours_ms"])
    assert dcl["floor_share"] == pytest.approx(dcl["floor_ms"] / dcl["ours_ms"])
    assert barlow_twins["floor_ms"] is None
    assert "not measured" in capsys.readouterr().out


def test_a_peer_beyond_the_memory_limit_is_left_out_with_the_reason(capsys):
    arguments = ["--sizes", "64", "--families", "dcl", "--repeats", "1", "--no-memory", "--memory-gb", "0.0001"]
    assert losses.main(arguments) == 0
    assert "dcl, M = 64: torch needs about" in capsys.readouterr().out


def test_an_unknown_family_ends_with_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        losses.main(["--families", "nt_xnt"])
    assert end.value.code == 2
    assert "nt_xnt" in capsys.readouterr().err


def test_contenders_take_turns():
    order = []
    work = {name: lambda name=name: order.append(name) for name in ("ours", "peer", "floor")}
    medians = loss_timing.alternating_medians(work, 3, lambda each: each() or 1.0, warm_up=False)
    assert order == ["ours", "peer", "floor"] * 3
    assert medians == {"ours": 1.0, "peer": 1.0, "floor": 1.0}


def test_only_a_measured_target_is_held_or_not():
    fast = loss_timing.Row("dcl", 1024, 1, {"ours": 1.0, "lightly": 5.0}, {})
    slow = loss_timing.Row("nt_xent", 1024, 1, {"ours": 1.0, "lightly": 2.0}, {})
    verdicts = {line.text: line.verdict for line in loss_report.targets([fast, slow], {})}
    assert verdicts["dcl against lightly, M = 1,024: at least"] == "held"
    assert verdicts["nt_xent against lightly, M = 1,024: at least"] == "not held"
    assert verdicts["nt_xent against lightly, M = 256: at least"] == "not measured"


@pytest.mark.skipif(not loss_memory.can_measure(), reason="needs Linux's /proc")
def test_peak_memory_counts_the_matrix_of_similarities():
    num_images = 1024
    peak = loss_memory.peak_above_idle("nt_xent", "plain", size=num_images, dim=DIM, tile=None, threads=1)
    assert peak > 4 * (2 * num_images) ** 2


@pytest.mark.parametrize("family", tune_baseline.LOSSES)
def test_the_plain_losses_have_our_value_and_gradient(family):
    plain = value_and_gradients(lambda u, v: tune_baseline.LOSSES[family](u, v, **SETTINGS[family]))
    ours = value_and_gradients(loss_memory.ours(family, None))
    torch.testing.assert_close(plain, ours, rtol=1e-9, atol=1e-9)


def test_the_plain_script_knows_every_family_of_the_quickstart():
    assert set(tune_baseline.LOSSES) == set(quickstart_work.FAMILIES)


def test_the_plain_script_has_our_network_and_initial_weights():
    images = tune_baseline.digits().test.images[:50]
    ours = build("mlp", [128, 32], dataset=DATASETS["digits"], batch_norm=False, seed=3)
    standardised = (images - DATASETS["digits"].mean[0]) / DATASETS["digits"].deviation[0]
    torch.testing.assert_close(tune_baseline.initial_encoder(3)(standardised), ours(images)[1])


def test_the_plain_script_augments_nearly_as_we_do():
    images = tune_baseline.digits().train
    torch.manual_seed(0)
    plain = [torch.stack(view) for view in zip(*tune_baseline.TwoViews(images), strict=True)]
    ours = two_views(images, "affine_erasing", seed=0)
    standardised = [(view - tune_baseline.MEAN[0]) / tune_baseline.DEVIATION[0] for view in ours]
    # torchvision rounds shifts to whole pixels: of 8 x 8 images that is a tenth more distance between views.
    allowed = torch.tensor([0.03, 0.05, 0.15])
    assert (moments(plain) - moments(standardised)).abs().less(allowed).all()


def moments(views):
    """Mean and mean square of the pixels, and mean square of the difference of an image's views."""
    first, second = views
    return torch.stack([first.mean(), first.square().mean(), (first - second).square().mean()])


def test_the_plain_probes_score_as_ours():
    splits = tune_baseline.digits()
    model = tune_baseline.initial_encoder(0)
    scores = tune_baseline.probe(model, splits)
    features = [x for part in (splits.fit, splits.validation, splits.test) for x in labelled(model, part)]
    assert scores["linear_top1"] == pytest.approx(linear_probe(*features, num_classes=10).test, abs=0.006)
    nearest = knn_top1(*features[:2], *features[-2:], num_classes=10)
    assert scores["knn_top1"] == pytest.approx(nearest, abs=0.006)


def labelled(model, split):
    standardised = (split.images - tune_baseline.MEAN[0]) / tune_baseline.DEVIATION[0]
    return model.encoder(standardised).detach(), split.labels


def test_a_part_of_the_quickstart_plans_trials_of_the_quickstart():
    chosen = sweep.sampled(quickstart_work.configurations(quickstart_work.FAMILIES), 5, index=1)
    part = quickstart_work.part_of_quickstart(
        chosen, batch_sizes=[64], seeds=[1, 3], epochs=quickstart_work.EPOCHS, pack_size=1
    )
    planned, whole = plan(part), plan(quickstart_work.QUICKSTART)
    assert len(planned) == planned["pack_id"].nunique() == 10
    assert set(planned["trial_id"]) < set(whole["trial_id"])


def test_a_configuration_is_sampled_again_only_when_all_were():
    everything = quickstart_work.configurations(quickstart_work.FAMILIES)
    rounds = [sweep.sampled(everything, 7, index=index) for index in range(6)]
    assert sorted(everything.index(each) for part in rounds[:5] for each in part) == list(range(35))
    assert rounds[5] == rounds[0]
    assert len(sweep.sampled(everything, 1000, index=2)) == 35


def test_the_members_of_a_pack_share_its_span():
    rows = pd.DataFrame(
        {
            "trial_id": list("abc"),
            "pack_id": ["p", "p", "q"],
            "linear_top1": 0.9,
            "train_seconds": [2.0, 3.0, 1.0],
            "evaluate_seconds": [1.0, 1.0, 0.5],
            "finished_at": pd.to_datetime([107, 107, 110], unit="s", utc=True),
            "slice_size": [2, 2, 1],
            "updates": 10,
        }
    )
    turn = sweep_turns.Turn("ours", 16, sweep_turns.stored_trials(rows), wall_seconds=15.0)
    assert list(turn.trials["started"]) == [100.0, 100.0, 108.5]
    assert turn.elapsed_seconds == 10.0
    assert turn.per_hour == 3 * 360
    assert turn.start_up_seconds == 5.0
    assert turn.busy_seconds == pytest.approx(8.5 / 3)
    assert list(turn.trials["step_seconds"]) == [0.4, 0.6, 0.1]


def turn_of(contender, ids, accuracies, seconds):
    trials = pd.DataFrame({"trial_id": ids, "linear_top1": accuracies, "busy_seconds": 1.0})
    return sweep_turns.Turn(contender, 16, trials.assign(started=0.0, finished=seconds), wall_seconds=seconds + 1)


def test_a_ratio_is_that_of_the_median_rates():
    turns = [turn_of("ours", ["a", "b"], 0.9, seconds) for seconds in (1.0, 2.0, 100.0)]
    turns += [turn_of("tune", ["a"], 0.9, seconds) for seconds in (8.0, 20.0, 10.0)]
    ours, tune = sweep_report.rates(turns)
    assert (ours.per_hour, ours.ratio, ours.trials) == (3600.0, 1.0, 6)
    assert (tune.per_hour, tune.ratio, tune.turns) == (360.0, 10.0, 3)
    assert [line.verdict for line in sweep_report.targets([ours, tune], [])] == ["held", "not measured"]


def test_a_small_shift_of_every_trial_is_seen_by_the_paired_test_alone():
    accuracies = torch.linspace(0.2, 0.9, 16).numpy()
    ids = [str(index) for index in range(16)]
    ours = turn_of("ours", [*ids, "alone"], [*accuracies, 0.0], 1.0)
    same = turn_of("tune", ids[::-1], accuracies[::-1], 1.0)
    shifted = turn_of("tune", ids, accuracies - 0.01, 1.0)
    (equal,) = sweep_report.same_work([ours, same])
    (worse,) = sweep_report.same_work([ours, shifted])
    assert (equal.trials, equal.paired_p) == (16, 1.0)
    assert worse.paired_p < 0.001
    assert worse.unpaired_p > 0.5
    assert worse.ours - worse.tune == pytest.approx(0.01)


@pytest.mark.parametrize("way", [step_floor.batched, step_floor.looped])
def test_the_floor_does_the_products_of_a_step_and_no_others(way):
    model, members, batch_size = tune_baseline.initial_encoder(0), 3, 4
    with FlopCounterMode(display=False) as step:
        model(torch.zeros(2 * batch_size, 1, 8, 8)).sum().backward()
    work = way(step_floor.layer_shapes(model), members, batch_size)
    with FlopCounterMode(display=False) as floor:
        work()
    assert floor.get_total_flops() == members * step.get_total_flops()


def test_no_rounds_are_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        sweep.main(["--rounds", "0"])
    assert end.value.code == 2
    assert "expected a whole number of at least 1, got 0" in capsys.readouterr().err


def test_over_all_shifts_of_the_seeds_the_ratio_is_one_on_average():
    a, b = torch.randn(2, 9, 1, generator=torch.Generator().manual_seed(0)).double().numpy()
    ratios = [
        float(common_random_numbers.variance_ratio(a, (a + b).take(range(k, k + 9), 0, mode="wrap"))) for k in range(9)
    ]
    assert ratios[0] < 1
    assert sum(ratios) / 9 == pytest.approx(1)


def test_the_ratio_of_equal_families_is_zero_and_of_opposite_ones_two():
    a = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double().numpy()
    assert common_random_numbers.variance_ratio(a, a + 1) == pytest.approx(0)
    assert common_random_numbers.variance_ratio(a, 1 - a) == pytest.approx(2)
    assert common_random_numbers.interval(a, 1 - a) == pytest.approx((2, 2))
    assert math.isnan(common_random_numbers.variance_ratio(0 * a, 0 * a))


def test_the_interval_holds_the_ratio_of_a_known_correlation():
    noise = torch.randn(3, 400, 1, generator=torch.Generator().manual_seed(0)).double().numpy()
    low, high = common_random_numbers.interval(noise[0] + noise[1], noise[0] + noise[2])
    assert low < 0.5 < high
    assert high - low < 0.2


def store_rows(num_seeds):
    """Two families whose outcomes are 1 apart under every seed, in two settings, rows in no order."""
    columns = dict.fromkeys([*common_random_numbers.HYPERPARAMETER_COLUMNS, "weight_decay"], float("nan"))
    columns |= {"dataset": "digits", "encoder": "mlp", "projector_dim": 32, "batch_policy": "shuffled"}
    columns |= {"learning_rate": 0.1, "status": "ok"}
    rows = [
        {**columns, "family": family, "temperature": temperature, "batch_size": 64, "seed": seed, "knn_top1": height}
        for family, offset in (("nt_xent", 0), ("dhel", 1))
        for temperature in (0.1, 0.2)
        for seed in range(num_seeds)
        for height in [offset + (seed * 7) % 5 + temperature]
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_families_are_paired_by_setting_and_seed():
    rows = store_rows(6)
    rows.loc[(rows["seed"] == 2) & (rows["family"] == "dhel") & (rows["temperature"] == 0.1), "status"] = "diverged"
    found = list(common_random_numbers.pairings(rows, ("nt_xent", "dhel"), "knn_top1"))
    assert [(line.setting, line.seeds) for line in found] == [
        ("temperature 0.1", 5),
        ("temperature 0.2", 6),
        ("2 settings", 5),
    ]
    assert [line.ratio for line in found] == pytest.approx([0, 0, 0])
    assert not list(common_random_numbers.pairings(store_rows(2), ("nt_xent", "dhel"), "knn_top1"))


def test_results_that_are_missing_are_named_in_one_line(tmp_path, capsys):
    assert common_random_numbers.main(["--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path}: no study here: plan.parquet is missing\n"
