import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from robustness.losses import LOSSES

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
losses = importlib.import_module("losses")
loss_memory = importlib.import_module("loss_memory")
loss_report = importlib.import_module("loss_report")
loss_timing = importlib.import_module("loss_timing")
SETTINGS = importlib.import_module("loss_peers").SETTINGS
PEERS = importlib.import_module("loss_peers").PEERS

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
