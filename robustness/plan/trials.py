"""Study -> every trial with its id and pack, as a table."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from robustness.data import AUGMENTATIONS
from robustness.metrics import measured_columns
from robustness.models import ENCODERS
from robustness.plan.designs import Configuration, configurations, num_configurations
from robustness.store import HYPERPARAMETER_COLUMNS, NUMERIC_OUTCOMES, PLAN_SCHEMA, TRIALS_SCHEMA
from robustness.trial import Trial, canonical_json, pack_id
from search_spaces.axes import StudyError, suggestion
from search_spaces.datasets import DATASETS
from search_spaces.families import UNTRAINED
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES
from search_spaces.study import Family, Study

MOST_TRIALS = 10_000_000


def plan(study: Study) -> pd.DataFrame:
    """Every trial of a study, a row each, with the columns of `robustness.store.PLAN_SCHEMA`.

    The same study gives the same rows, ids and packs on any machine.

    Raises:
        StudyError: a name or size that this version can't run, 0 trials or too many.
    """
    check(study)
    rows = pd.DataFrame(list(_rows(study)), columns=PLAN_SCHEMA.names)
    twice = rows[rows["trial_id"].duplicated(keep=False)]
    if len(twice):
        labels = " and ".join(sorted(set(twice["family"])))
        raise StudyError(f"{study.source}: families: {labels} plan the same trial; let their values differ")
    return cut_packs(rows, size=study.pack.size)


def cut_packs(rows: pd.DataFrame, *, size: int) -> pd.DataFrame:
    """Give each row its pack: trials that share batches and initial weights, at most `size`, evenly cut."""
    packs: dict[str, str] = {}
    for _, group in rows.groupby(rows["trial"].map(_shared_by_pack), sort=False):
        for members in np.array_split(group["trial_id"].to_numpy(), -(-len(group) // size)):
            packs |= dict.fromkeys(members, pack_id(list(members)))
    return rows.assign(pack_id=rows["trial_id"].map(packs))


def check(study: Study) -> None:
    """Check what only the registries know: names and sizes of data sets, encoders, outcomes.

    Raises:
        StudyError: one line that names the place, the rule and the value.
    """
    place = study.source
    for name in study.data.datasets:
        if name not in DATASETS:
            raise StudyError(f"{place}: data.dataset: no data set of this name{suggestion(name, dict(DATASETS))}")
    preset = study.data.augmentation
    if preset is not None and preset not in AUGMENTATIONS:
        hint = suggestion(preset, dict(AUGMENTATIONS))
        raise StudyError(f"{place}: data.augmentation: no preset of this name{hint}")
    if study.model.encoder not in ENCODERS:
        hint = suggestion(study.model.encoder, dict(ENCODERS))
        raise StudyError(f"{place}: model.encoder: no encoder of this name{hint}")
    _check_hyperparameters(study)
    _check_outcome(study)
    _check_batches(study)
    count = (
        len(study.data.datasets)
        * len(study.seeds)
        * sum(
            1 if family.loss == UNTRAINED else num_configurations(study, family) for family in study.families.values()
        )
    )
    if count > MOST_TRIALS:
        raise StudyError(f"{place}: the study plans {count:,} trials; expected at most {MOST_TRIALS:,}")


def _check_hyperparameters(study: Study) -> None:
    """Those of installed packages become columns when results are analysed."""
    for family in study.families.values():
        for name in family.hyperparameters:
            if name in TRIALS_SCHEMA.names and name not in HYPERPARAMETER_COLUMNS:
                rule = "a column of the results has this name; call the hyperparameter otherwise"
                raise StudyError(f"{study.source}: families.{family.label}.{name}: {rule}")


def _check_outcome(study: Study) -> None:
    outcome, measured = study.analysis.outcome, measured_columns(study.evaluation.probes)
    if outcome not in measured:
        known = {name: None for name in NUMERIC_OUTCOMES if name in measured}
        hint = suggestion(outcome, known)
        raise StudyError(f"{study.source}: analysis.outcome: {outcome!r} is not measured by this study{hint}")


def _check_batches(study: Study) -> None:
    axis = study.axes.get("batch_size")
    sizes = [int(size) for size in axis.levels] if axis else [int(PACK_AXES["batch_size"].default)]
    for name in study.data.datasets:
        available = DATASETS[name].num_train
        if max(sizes) > available:
            origin = "axes.batch_size" if axis else "axes.batch_size (default)"
            rule = f"{name} has {available} training images, got a batch size of {max(sizes)}"
            raise StudyError(f"{study.source}: {origin}: {rule}")
    if study.training.images is not None and study.training.images < max(sizes):
        rule = f"expected at least one batch of {max(sizes)}, got {study.training.images}"
        raise StudyError(f"{study.source}: training.images: {rule}")


def _rows(study: Study) -> Iterator[dict[str, Any]]:
    for dataset in study.data.datasets:
        for family in study.families.values():
            untrained = family.loss == UNTRAINED
            for configuration in [{}] if untrained else configurations(study, family):
                for seed in study.seeds:
                    yield _row(study, dataset, family, configuration, seed)


def _row(study: Study, dataset: str, family: Family, configuration: Configuration, seed: int) -> dict[str, Any]:
    trial = _trial(study, dataset, family, configuration, seed)
    training = trial.training or {}
    known = {name: float(value) for name, value in trial.hyperparameters.items() if name in HYPERPARAMETER_COLUMNS}
    extra = {name: value for name, value in trial.hyperparameters.items() if name not in known}
    return {
        "trial_id": trial.trial_id,
        "study": study.name,
        "design": study.design.kind,
        "family": family.label,
        "loss": family.loss,
        "seed": seed,
        "batch_size": training.get("batch_size"),
        "projector_dim": trial.model["projector"][-1] if training else None,
        "batch_policy": "shuffled" if training else None,
        "learning_rate": training.get("learning_rate"),
        "weight_decay": training.get("weight_decay"),
        **known,
        "extra_hyperparameters": canonical_json(extra) if extra else None,
        "dataset": dataset,
        "encoder": study.model.encoder,
        "trial": trial.json,
    }


def _trial(study: Study, dataset: str, family: Family, configuration: Configuration, seed: int) -> Trial:
    untrained = family.loss == UNTRAINED
    model = study.model.model_dump()
    if "projector_dim" in configuration:
        model["projector"] = [*model["projector"][:-1], configuration["projector_dim"]]
    training = study.training.model_dump(exclude_none=True)
    training["batch_size"] = configuration.get("batch_size", PACK_AXES["batch_size"].default)
    training |= {name: value for name, value in configuration.items() if name in TRAINING_AXES}
    return Trial(
        data={"dataset": dataset, "augmentation": study.data.augmentation or DATASETS[dataset].augmentation},
        model=model,
        training=None if untrained else training,
        evaluation=study.evaluation.model_dump(include={"probes", "images"}),
        loss=family.loss,
        hyperparameters={name: float(configuration[name]) for name in family.hyperparameters},
        seed=seed,
    )


def _shared_by_pack(text: str) -> str:
    """What the members of a pack agree on: all but the loss, its hyperparameters and the optimiser's."""
    trial = Trial.from_json(text)
    training = None
    if trial.training is not None:
        training = {name: value for name, value in trial.training.items() if name not in TRAINING_AXES}
    shared = {"data": trial.data, "model": trial.model, "training": training, "seed": trial.seed}
    return canonical_json(shared | {"evaluation": trial.evaluation})
