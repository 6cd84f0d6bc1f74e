"""The papers' statements: all hold, and a wrong sign in a loss makes one fail."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from robustness.cli.application import main
from robustness.losses import LOSSES, kernel
from robustness.theory import STATEMENTS, Statement, failed, run, verdicts
from robustness.theory.free import minimised
from robustness.theory.statement import above, below, between, equal

CHECKED_IN = Path(__file__).parent.parent / "docs" / "theory.csv"


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """What the command prints and writes for all statements."""
    file = tmp_path_factory.mktemp("theory") / "theory.parquet"
    command = [sys.executable, "-m", "robustness.cli", "theory", "--out", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran, pd.read_parquet(file)


def test_all_statements_hold(everything):
    ran, measured = everything
    assert (ran.returncode, ran.stderr) == (0, "")
    assert measured["holds"].all()
    assert list(measured["statement"].unique()) == [f"T{k}" for k in range(1, 20)]
    assert ran.stdout.splitlines()[-1].startswith(f"19 statements, {len(measured)} measurements in ")
    assert ran.stdout.splitlines()[-1].endswith("all hold")
    assert all(statement.claim in ran.stdout for statement in STATEMENTS.values())


def test_the_documentation_has_what_is_measured(everything):
    """The numbers themselves differ in the last digits between processors."""
    _, measured = everything
    told = pd.read_csv(CHECKED_IN)
    assert list(told["statement"]) == list(measured["statement"])
    assert list(told["quantity"]) == list(measured["quantity"])
    assert told["holds"].all()
    np.testing.assert_allclose(told["expected"], measured["expected"], rtol=1e-9, atol=1e-12)


def wrong(name, change):
    """A loss of the registry with another value."""
    original = LOSSES[name]

    def formula(u, v, **hyperparameters):
        return change(original, u, v, hyperparameters)

    return replace(original, formula=formula)


def turned(loss, u, v, hyperparameters):
    return -loss.compute(u, v, **hyperparameters)


def repelled_positive(loss, u, v, hyperparameters):
    """The positive's sign is wrong, the negatives' is right."""
    pull = 2 * torch.nn.functional.cosine_similarity(u, v, dim=-1).mean(-1)
    return loss.compute(u, v, **hyperparameters) + pull / hyperparameters.get("temperature", 1.0)


def ruled(name, rule):
    """A loss of the registry with another rule."""
    original = LOSSES[name]
    return replace(original, formula=replace(original.formula, rule=rule))


def pushed_by_its_kernel(anchors, *, bandwidth, gamma):
    push = kernel.gaussian(anchors.positive_distance, bandwidth=bandwidth)
    return gamma * anchors.mean(kernel.gaussian(anchors.distances, bandwidth=bandwidth)) + push


def falling_sigmoid(anchors, *, slope):
    return anchors.sum(torch.sigmoid(slope * (anchors.positive - anchors.similarities)))


def weighted_towards_far(anchors, *, temperature):
    weights = anchors.softmax((1 - anchors.similarities) / temperature).detach()
    return (weights * anchors.similarities).sum((-2, -1), keepdim=True) - anchors.positive


def weights_with_gradient(anchors, *, power, temperature):
    weights = anchors.softmax(-power * (1 - anchors.similarities + temperature).log())
    return (weights * anchors.similarities).sum((-2, -1), keepdim=True) - anchors.positive


@pytest.mark.parametrize(
    ("name", "rule", "statement"),
    [
        ("kcl_gaussian", pushed_by_its_kernel, "T11"),
        ("modified_triplet", falling_sigmoid, "T13"),
        ("alpha_entropy", weighted_towards_far, "T14"),
        ("alpha_inverse", weights_with_gradient, "T14"),
    ],
)
def test_a_wrong_sign_or_a_leaking_weight_in_a_rule_makes_a_statement_fail(monkeypatch, name, rule, statement):
    monkeypatch.setitem(LOSSES, name, ruled(name, rule))
    assert failed(run({statement: STATEMENTS[statement]})) == [statement]


def caught(monkeypatch, name, change, statements):
    monkeypatch.setitem(LOSSES, name, wrong(name, change))
    return failed(run({number: STATEMENTS[number] for number in statements}))


@pytest.mark.parametrize(
    ("name", "change", "statements"),
    [
        ("info_nce", repelled_positive, ["T1"]),
        ("info_nce", turned, ["T5"]),
        ("dhel", repelled_positive, ["T11"]),
        ("kcl_gaussian", turned, ["T11"]),
        ("triplet", turned, ["T13"]),
        ("alpha_inverse", turned, ["T14"]),
        ("alpha_square", turned, ["T15"]),
    ],
)
def test_a_wrong_sign_makes_a_statement_fail(monkeypatch, name, change, statements):
    assert caught(monkeypatch, name, change, statements) == statements


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_wrong_sign_of_any_loss_is_caught(monkeypatch, name):
    """Without searches for minima: by values, gradients and expectations alone."""
    monkeypatch.setattr("robustness.theory.optima.minimised", unsearched)
    statements = {number: STATEMENTS[number] for number in ("T7", "T13", "T14", "T15", "T18")}
    measured = [run(statements)]
    monkeypatch.setitem(LOSSES, name, wrong(name, turned))
    measured.append(run(statements))
    held, holds = (one.loc[one["quantity"].str.contains(name, regex=False), "holds"] for one in measured)
    assert (held & ~holds).any() or name == "alpha_direct_backprop"
    if name == "alpha_direct_backprop":
        assert "T18" in failed(measured[1])


def unsearched(objective, num_points, dim, *, starts):
    u, v = torch.zeros(2, starts, num_points, dim, dtype=torch.float64)
    return u, v, torch.full((starts,), math.nan, dtype=torch.float64)


def test_a_number_holds_where_it_lies_within_its_bounds():
    assert equal("x", 1.0, 1.1, within=0.2).holds
    assert not equal("x", 1.0, 1.1, within=0.05).holds
    assert not above("x", 1.0, 1.0).holds
    assert not below("x", torch.tensor(1.0), 1.0).holds
    assert between("x", 1.0, 1.0, 2.0).holds
    assert not any(one("x", math.nan, 0.0).holds for one in (above, below))
    assert not equal("x", math.nan, 0.0, within=1.0).holds


def test_statements_are_measured_on_one_thread_and_the_threads_come_back():
    threads, seen = torch.get_num_threads(), []

    def check():
        seen.append(torch.get_num_threads())
        return [equal("x", 0.0, 0.0, within=0.0)]

    torch.set_num_threads(2)
    try:
        run({"X": Statement("claim", "source", check)})
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(threads)


def test_the_best_start_comes_first():
    u, v, values = minimised(lambda u, v: (u * v).sum((-2, -1)), 2, 3, starts=3)
    assert values.tolist() == sorted(values.tolist())
    assert values[0].item() == pytest.approx(-2, abs=1e-9)
    torch.testing.assert_close(u[0], -v[0], rtol=0, atol=1e-4)


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["robustness", "theory", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr()


def test_one_statement_shows_its_measurements(monkeypatch, capsys):
    code, printed = command(monkeypatch, capsys, "t18")
    assert code == 0
    assert "relative difference of the gradients" in printed.out
    assert printed.out.splitlines()[-1].endswith("all hold")


def test_a_statement_that_does_not_hold_is_exit_code_1(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(LOSSES, "alpha_direct_backprop", LOSSES["alpha_direct"])
    code, printed = command(monkeypatch, capsys, "T18", "--out", tmp_path / "t.parquet")
    assert code == 1
    assert printed.out.splitlines()[-1].endswith("T18 does not hold")
    assert failed(pd.read_parquet(tmp_path / "t.parquet")) == ["T18"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["T99"], "T99: no statement of this name; did you mean 'T9'?"),
        (["T18", "--out", "missing/t.parquet"], "--out: missing: no such folder"),
        (["T18", "--out", "."], "--out: .: expected a file, got a folder"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_measured(monkeypatch, capsys, words, message):
    monkeypatch.setattr(verdicts, "run", None)
    code, printed = command(monkeypatch, capsys, *words)
    assert code == 2
    assert printed.out == ""
    assert printed.err.startswith(message)
    assert len(printed.err.splitlines()) == 1
