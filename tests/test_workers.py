from types import SimpleNamespace

from robustness.sweep.cluster import connected
from robustness.sweep.place import Place
from robustness.sweep.watch import Quiet, WhilePacksWait
from robustness.sweep.worker import MachineLeavesError

from ray import tune  # isort: skip


def test_workers_that_are_taken_back_before_their_turn_end_without_one(tmp_path, monkeypatch):
    # Tune makes a worker when the one before has its turn, or is taken back.
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")
    with connected(Place(), image_bytes=0):
        ends = tune.Tuner(
            lambda config: (tmp_path / "turn").touch(),
            param_space={"worker": tune.grid_search([0, 1, 2])},
            tune_config=tune.TuneConfig(scheduler=WhilePacksWait(SimpleNamespace(packs_wait=False))),
            run_config=tune.RunConfig(name="sweep", storage_path=str(tmp_path), verbose=0, callbacks=[Quiet()]),
        ).fit()
    assert len(ends) == 3
    assert not (tmp_path / "turn").exists()


def test_workers_whose_machines_leave_are_replaced_however_often(tmp_path):
    def work(config):
        lives = len(list(tmp_path.glob("life*")))
        (tmp_path / f"life{lives}").touch()
        if lives < 3:
            raise MachineLeavesError

    with connected(Place(), image_bytes=0):
        failures = tune.FailureConfig(max_failures=1)
        run = tune.RunConfig(
            name="s", storage_path=str(tmp_path), verbose=0, callbacks=[Quiet()], failure_config=failures
        )
        ends = tune.Tuner(work, run_config=run).fit()
    assert ends[0].error is None
    assert len(list(tmp_path.glob("life*"))) == 4
