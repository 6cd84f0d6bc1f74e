import io
import itertools
import json
import math
import threading
from urllib.request import urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
import optuna_dashboard
import pandas as pd
import pytest
from fake_store import outcomes, planned_rows, small_study, trial_and_history

from robustness import store
from robustness.export import to_csv, to_optuna

FAMILIES = {
    "nt_xent": {"temperature": {"low": 0.05, "high": 2.0, "scale": "log", "levels": 3}},
    "kcl_riesz": {"kernel_order": {"values": [0.5, 1, 1.5], "scale": "linear"}, "gamma": 16},
    "untrained": "default",
}
STATES = {"ok": "COMPLETE", "diverged": "FAIL", "stopped": "PRUNED"}


def status_of(row):
    """Of seed 1 some trials failed, of seed 2 some were stopped."""
    if row["loss"] == "untrained" or row["batch_size"] == 64:
        return "ok"
    return {1: "diverged", 2: "stopped"}.get(row["seed"], "ok")


def ended(row, status):
    """A stored row and its history."""
    trial, history = trial_and_history(row, failed=status == "diverged")
    if status == "stopped":
        trial = {name: value for name, value in trial.items() if name not in store.OUTCOMES}
        trial |= {"status": "stopped", "error": "others were better after 10 epochs"}
        history = history[:2]
    return {**trial, "finished_at": pd.Timestamp("2026-01-01", tz="UTC")}, history


def write(folder, study, *, keep=lambda row: True, status=status_of):
    rows = planned_rows(study)
    store.prepare(folder)
    store.write_plan(folder, pd.DataFrame(rows), study.written())
    add(folder, [row for row in rows if keep(row)], status=status)
    return rows


def add(folder, rows, *, status=status_of):
    for pack in {row["pack_id"] for row in rows}:
        stored = [ended(row, status(row)) for row in rows if row["pack_id"] == pack]
        store.write_pack(folder, pack, [trial for trial, _ in stored], [row for _, own in stored for row in own])


def studies_of(url):
    return {name: optuna.load_study(study_name=name, storage=url) for name in optuna.get_all_study_names(url)}


def trials_of(url):
    """All trials of all studies by trial_id, each with the name of its study."""
    found = {}
    for name, study in studies_of(url).items():
        for trial in study.trials:
            found.setdefault(trial.user_attrs["trial_id"], []).append((name, trial))
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with every kind of trial, the rows of its plan, and the database that it was written to."""
    folder = tmp_path_factory.mktemp("results")
    rows = write(folder, small_study(families=FAMILIES, data={"dataset": ["digits", "mnist"]}))
    url = f"sqlite:///{folder}/optuna.db"
    to_optuna(folder, url)
    return folder, rows, url


def test_csv_holds_every_row_and_all_columns_but_lists(exported, tmp_path):
    folder, rows, _ = exported
    assert to_csv(folder, tmp_path / "trials.csv") == len(rows)
    back, stored = pd.read_csv(tmp_path / "trials.csv"), store.read(folder)
    assert set(stored.columns) - set(back.columns) == {
        "h_spectrum", "z_spectrum", "retrieval_severities", "inner_products",
    }  # fmt: skip
    expected = pd.read_csv(
        io.StringIO(stored.drop(columns=sorted(set(stored.columns) - set(back.columns))).to_csv(index=False))
    )
    pd.testing.assert_frame_equal(back, expected)
    assert back["linear_top1"].tolist() == pytest.approx(stored["linear_top1"].tolist(), nan_ok=True)


def test_every_stored_trial_is_one_optuna_trial_with_its_parameters_and_its_value(exported):
    _, rows, url = exported
    found = trials_of(url)
    assert {row["trial_id"] for row in rows} == set(found)
    for row in rows:
        ((name, trial),) = found[row["trial_id"]]
        assert name == f"small/{row['dataset']}/{row['family']}"
        axes = {"nt_xent": ["temperature"], "kcl_riesz": ["kernel_order"]}.get(row["family"])
        assert trial.params == ({axis: row[axis] for axis in ["batch_size", *axes]} if axes else {})
        assert trial.user_attrs["seed"] == row["seed"]
        assert trial.state.name == STATES[status_of(row)]
        if trial.state.name == "COMPLETE":
            assert trial.value == outcomes(row)["linear_top1"]


def test_a_failed_trial_tells_why_and_a_stopped_one_how_far_it_was(exported):
    _, rows, url = exported
    found = trials_of(url)
    for row in rows:
        ((_, trial),) = found[row["trial_id"]]
        _, history = ended(row, status_of(row))
        assert trial.user_attrs["status"] == status_of(row)
        assert trial.intermediate_values == {math.ceil(each["epoch"]): each["linear_top1"] for each in history}
        if trial.state.name == "FAIL":
            assert (trial.value, trial.user_attrs["error"]) == (None, "loss is not finite")
        if trial.state.name == "PRUNED":
            assert trial.value == history[-1]["linear_top1"]
            assert trial.user_attrs["error"] == "others were better after 10 epochs"


def test_scales_are_kept_as_distributions(exported):
    _, _, url = exported
    studies = studies_of(url)
    contrastive, kernel = (studies[f"small/digits/{family}"].trials[0].distributions for family in list(FAMILIES)[:2])
    assert contrastive["temperature"] == optuna.distributions.FloatDistribution(0.05, 2.0, log=True)
    assert contrastive["batch_size"] == optuna.distributions.IntDistribution(16, 64, log=True)
    assert kernel["kernel_order"] == optuna.distributions.FloatDistribution(0.5, 1.5, log=False)
    assert studies["small/digits/kcl_riesz"].user_attrs["fixed"] == {"gamma": 16}
    assert {study.direction.name for study in studies.values()} == {"MAXIMIZE"}


def test_exporting_again_adds_what_is_new_and_nothing_twice(tmp_path):
    url, first = f"sqlite:///{tmp_path}/optuna.db", lambda row: row["seed"] == 0
    rows = write(tmp_path, small_study(), keep=first)
    count = sum(first(row) for row in rows)
    assert to_optuna(tmp_path, url).added == count
    add(tmp_path, [row for row in rows if not first(row)])
    again = to_optuna(tmp_path, url)
    assert (again.added, again.present) == (len(rows) - count, count)
    assert to_optuna(tmp_path, url).added == 0
    assert {trial_id: len(trials) for trial_id, trials in trials_of(url).items()} == {
        row["trial_id"]: 1 for row in rows
    }


def test_a_failed_trial_that_was_run_again_is_a_second_trial_as_optuna_has_it(tmp_path):
    url = f"sqlite:///{tmp_path}/optuna.db"
    rows = write(tmp_path, small_study())
    to_optuna(tmp_path, url)
    row = next(row for row in rows if status_of(row) == "diverged")
    trial, history = ended(row, "ok")
    store.replace_in_pack(tmp_path, row["pack_id"], [trial], history)
    assert to_optuna(tmp_path, url).added == 1
    states = [trial.state.name for _, trial in trials_of(url)[row["trial_id"]]]
    assert sorted(states) == ["COMPLETE", "FAIL"]


def test_a_smaller_outcome_is_better_where_the_study_says_so(tmp_path):
    url = f"sqlite:///{tmp_path}/optuna.db"
    rows = write(tmp_path, small_study(analysis={"outcome": "final_loss"}), status=lambda row: "ok")
    to_optuna(tmp_path, url)
    best = studies_of(url)["small/digits/nt_xent"].best_value
    assert best == min(outcomes(row)["final_loss"] for row in rows if row["family"] == "nt_xent")


def test_hyperparameters_of_installed_packages_are_parameters(tmp_path):
    folder, url = tmp_path, f"sqlite:///{tmp_path}/optuna.db"
    study = small_study()
    written = study.written()
    written["families"]["foreign"] = {"loss": "foreign", "width": {"values": [0.5, 2.0]}}
    rows = [
        {**row, "family": "foreign", "loss": "foreign", "temperature": None, "extra_hyperparameters": text}
        for row, text in zip(planned_rows(study), itertools.cycle(['{"width":0.5}', '{"width":2}']), strict=False)
        if row["family"] == "nt_xent" and row["seed"] == 0
    ]
    store.prepare(folder)
    store.write_plan(folder, pd.DataFrame(rows), written)
    add(folder, rows, status=lambda row: "ok")
    to_optuna(folder, url)
    widths = [trial.params["width"] for trial in studies_of(url)["small/digits/foreign"].trials]
    assert sorted(widths) == sorted(json.loads(row["extra_hyperparameters"])["width"] for row in rows)


def test_what_is_not_ours_in_the_database_is_one_line(tmp_path):
    url = f"sqlite:///{tmp_path}/optuna.db"
    write(tmp_path, small_study())
    optuna.create_study(storage=url, study_name="small/digits/nt_xent", direction="minimize")
    with pytest.raises(store.StoreError, match="small/digits/nt_xent: expected a study to maximize"):
        to_optuna(tmp_path, url)


class Silent(WSGIRequestHandler):
    def log_message(self, *_):
        """Nothing: requests are not the output of a test."""


def test_the_dashboard_shows_every_study_and_its_trials(exported):
    _, rows, url = exported
    with make_server("127.0.0.1", 0, optuna_dashboard.wsgi(url), handler_class=Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            listed = ask(server.server_port, "studies")["study_summaries"]
            counts = {each["study_name"]: len(trials(server.server_port, each["study_id"])) for each in listed}
        finally:
            server.shutdown()
            thread.join()
    expected = pd.Series([f"small/{row['dataset']}/{row['family']}" for row in rows]).value_counts()
    assert counts == expected.to_dict()


def ask(port, path):
    with urlopen(f"http://127.0.0.1:{port}/api/{path}") as answer:
        return json.load(answer)


def trials(port, study_id):
    found = ask(port, f"studies/{study_id}?after=0")["trials"]
    assert all(trial["state"] in ("Complete", "Fail", "Pruned") for trial in found)
    return found
