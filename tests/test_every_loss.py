import pandas as pd
import pytest
import yaml
from processes import robustness

from robustness.losses import LOSSES
from search_spaces import load_study

TRAINING = {"updates": 3}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Every loss at its defaults for three updates, through the command."""
    folder = tmp_path_factory.mktemp("every_loss")
    study = {
        "name": "every",
        "data": {"dataset": "digits"},
        "training": TRAINING,
        "evaluation": {"probes": ["knn"]},
        "seeds": 1,
        "axes": {"batch_size": {"values": [64]}},
        "families": {**{name: {} for name in LOSSES}, "untrained": "default"},
        "analysis": {"outcome": "knn_top1"},
    }
    (folder / "every.yaml").write_text(yaml.safe_dump(study))
    return folder, robustness("run", "every.yaml", "--out", "out", cwd=folder)


def test_a_study_of_all_families_ends_with_every_trial_ok(swept):
    folder, done = swept
    assert done.returncode == 0, done.stderr
    trials = pd.read_parquet(folder / "out" / "trials")
    assert sorted(trials["loss"]) == sorted([*LOSSES, "untrained"])
    assert set(trials["status"]) == {"ok"}
    assert trials.loc[trials["loss"] != "untrained", "final_loss"].notna().all()


def test_every_hyperparameter_of_every_loss_has_its_column(swept):
    folder, _ = swept
    trials = pd.read_parquet(folder / "out" / "trials").set_index("loss")
    for name, loss in LOSSES.items():
        for axis, hyperparameter in loss.space.hyperparameters.items():
            assert trials.loc[name, axis] == hyperparameter.default
    assert trials["extra_hyperparameters"].isna().all()
    page = (folder / "out" / "report" / "index.html").read_text()
    assert all(name in page for name in LOSSES)


def test_the_shipped_study_every_loss_has_every_loss():
    assert set(load_study("every_loss").families) == {*LOSSES, "untrained"}
