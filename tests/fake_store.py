"""A store as a sweep leaves it, with simulated outcomes instead of trained encoders."""

import itertools
import json
import math

import numpy as np
import pandas as pd

from robustness.plan.designs import family_axes
from robustness.store import PLAN_SCHEMA, Row, prepare, write_pack, write_plan
from robustness.trial import digest
from search_spaces import Study, parse_study

EPOCHS = (5, 10, 15, 20)
KERNEL_AXES = ("temperature", "bandwidth", "kernel_scale")


def small_study(**changes):
    """Two losses and the untrained encoder on a small grid; keyword arguments replace sections."""
    temperature = {"low": 0.05, "high": 2.0, "scale": "log", "levels": 3}
    bandwidth = {"low": 0.25, "high": 10, "scale": "log", "levels": 3}
    raw = {
        "name": "small",
        "data": {"dataset": "digits"},
        "seeds": 3,
        "axes": {"batch_size": {"values": [16, 64], "scale": "log2"}},
        "families": {
            "nt_xent": {"temperature": temperature},
            "kcl_gaussian": {"bandwidth": bandwidth, "gamma": 16},
            "untrained": "default",
        },
    }
    return parse_study({**raw, **changes}, "small")


def configurations(study: Study, label: str) -> list[dict]:
    family = study.families[label]
    if family.loss == "untrained":
        return [{}]
    axes = {axis.name: axis for axis in family_axes(study, family)}
    if study.design.kind == "grid":
        return [
            dict(zip(axes, values, strict=True)) for values in itertools.product(*(a.levels for a in axes.values()))
        ]
    points = np.random.default_rng(study.design.seed).random((study.design.configurations, len(axes)))
    return [
        {name: axis.dimension.value(u) for (name, axis), u in zip(axes.items(), point, strict=True)} for point in points
    ]


def planned_rows(study: Study) -> list[Row]:
    blank = dict.fromkeys(PLAN_SCHEMA.names)
    rows = []
    for dataset, label, seed in itertools.product(study.data.datasets, study.families, study.seeds):
        for values in configurations(study, label):
            text = f"{dataset} {label} {seed} {sorted(values.items())}"
            row = {
                "trial_id": digest(text), "pack_id": digest(f"{dataset} {seed} {values.get('batch_size')}"),
                "study": study.name, "design": study.design.kind, "family": label,
                "loss": study.families[label].loss, "seed": seed, "dataset": dataset, "encoder": "mlp",
                "trial": text,
            }  # fmt: skip
            known = {name: value for name, value in values.items() if name in blank}
            extra = {name: value for name, value in values.items() if name not in blank}
            rows.append({**blank, **row, **known, "extra_hyperparameters": json.dumps(extra) if extra else None})
    return rows


def quality(row: Row) -> float:
    """0 at the worst setting, 1 at the best: a hill over the logarithm of temperature or kernel width."""
    widths = [math.log(row[name]) for name in KERNEL_AXES if row[name] is not None]
    batch = math.log2(row["batch_size"] or 64)
    hill = sum((width + 1.0) ** 2 * (0.02 if row["loss"] == "dhel" else 0.05) for width in widths)
    return max(0.0, 1.0 - hill - 0.004 * (batch - 7) ** 2)


def outcomes(row: Row) -> dict:
    """Common effects of the seed, of seed and batch size together, and noise of the trial alone."""
    common = np.random.default_rng([row["seed"], row["batch_size"] or 0]).normal()
    noise = np.random.default_rng(int(row["trial_id"][:12], 16)).normal(size=2)
    good = 0.2 if row["loss"] == "untrained" else quality(row)
    accuracy = 0.74 + 0.2 * good + 0.004 * common + 0.003 * noise[0]
    rank = 4 + 20 * good + 0.3 * noise[1]
    collapse = "complete" if good < 0.05 else "dimensional" if rank < 12 else "none"
    return {
        "linear_top1": accuracy, "linear_top1_validation": accuracy + 0.002 * noise[1],
        "z_effective_rank": rank, "collapse": collapse, "final_loss": 3.0 - good,
    }  # fmt: skip


def fails_nowhere(row: Row) -> bool:
    return False


def write_store(folder, study: Study, *, fails=fails_nowhere, keep=lambda row: True):
    """Write the plan of `study` and the trials that `keep` keeps; those for which `fails` have diverged."""
    rows = planned_rows(study)
    prepare(folder)
    write_plan(folder, pd.DataFrame(rows), study.written())
    stored = [row for row in rows if keep(row)]
    for pack, members in itertools.groupby(sorted(stored, key=lambda row: row["pack_id"]), lambda row: row["pack_id"]):
        trials, history = [], []
        for row in members:
            trial, epochs = trial_and_history(row, failed=row["loss"] != "untrained" and fails(row))
            trials.append(trial)
            history.extend(epochs)
        write_pack(folder, pack, trials, history)
    return folder


def trial_and_history(row: Row, *, failed: bool):
    known = {key: value for key, value in row.items() if key != "trial"}
    done = {"epochs": 20.0, "updates": 400, "images": 25_600}
    cost = {
        "train_seconds": 2.5,
        "evaluate_seconds": 0.5,
        "device": "cpu",
        "threads": 1,
        "slice_size": 8,
        "fused": True,
    }
    source = {"code_version": "0.1.0", "protocol_version": 2, "torch_version": "2.9.0"}
    if failed:
        return {**known, **done, **cost, **source, "status": "diverged", "error": "loss is not finite"}, []
    measured = outcomes(row)
    trial = {**known, **done, **cost, **source, "status": "ok", **measured}
    same = {
        name: known[name]
        for name in (
            "trial_id",
            "pack_id",
            "study",
            "design",
            "family",
            "loss",
            "seed",
            "batch_size",
            "dataset",
        )
    }
    if row["loss"] == "untrained":
        return trial, []
    history = [
        {**same, "epoch": float(epoch), "updates": 20 * epoch, "images": 1280 * epoch,
         "linear_top1": measured["linear_top1"] - 0.1 * math.exp(-epoch / 5),
         "z_effective_rank": measured["z_effective_rank"] * (1 - 0.5 * math.exp(-epoch / 5))}
        for epoch in EPOCHS
    ]  # fmt: skip
    return trial, history
