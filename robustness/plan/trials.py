"""Study -> every trial with its id and pack, as a table."""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from robustness.data import AUGMENTATIONS, COLOUR_AUGMENTATIONS, DataError, describe
from robustness.data.policies import check_policy
from robustness.metrics import AT_THE_END, measured_columns
from robustness.models import check as check_encoder
from robustness.plan.cost import batch_policy
from robustness.plan.designs import Configuration, configurations, num_configurations
from robustness.store import HYPERPARAMETER_COLUMNS, NUMERIC_OUTCOMES, PLAN_SCHEMA, TRIALS_SCHEMA
from robustness.trial import Trial, canonical_json, pack_id
from search_spaces.axes import StudyError, suggestion
from search_spaces.datasets import DATASETS, dataset_of
from search_spaces.families import UNTRAINED
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES
from search_spaces.study import Family, Study

MOST_TRIALS = 10_000_000

TrialData = Mapping[str, Any]
"""What a trial tells of its data: name, augmentation, and of files their content and facts."""


def plan(study: Study) -> pd.DataFrame:
    """Every trial of a study, a row each, with the columns of `robustness.store.PLAN_SCHEMA`.

    The same study gives the same rows, ids and packs on any machine. Data sets that are known by name need no files;
    a study of files reads them. Of an adaptive design these are the trials that are known beforehand: of `untrained`,
    and of families without an axis to vary; `robustness.plan.adaptive` makes the others.

    Raises:
        StudyError: a name or size that this version can't run, files that can't be read, 0 trials or too many.
    """
    return cut_packs(without_packs(study), size=study.pack.size)


def without_packs(study: Study) -> pd.DataFrame:
    """The rows of `plan` before packs are cut."""
    data = check(study)
    known = [
        (family, configuration)
        for family in study.families.values()
        for configuration in ([{}] if family.loss == UNTRAINED else configurations(study, family))
    ]
    rows = rows_of(study, data, known)
    twice = rows[rows["trial_id"].duplicated(keep=False)]
    if len(twice):
        labels = " and ".join(sorted(set(twice["family"])))
        raise StudyError(f"{study.source}: families: {labels} plan the same trial; let their values differ")
    return rows


def cut_packs(rows: pd.DataFrame, *, size: int) -> pd.DataFrame:
    """Give each row its pack: trials that share batches and initial weights, at most `size`, evenly cut."""
    packs: dict[str, str] = {}
    for _, group in rows.groupby(rows["trial"].map(_shared_by_pack), sort=False):
        for members in np.array_split(group["trial_id"].to_numpy(), -(-len(group) // size)):
            packs |= dict.fromkeys(members, pack_id(list(members)))
    return rows.assign(pack_id=rows["trial_id"].map(packs))


def check(study: Study) -> dict[str, TrialData]:
    """Check what only the registries and the files know: names and sizes of data sets, encoders, outcomes.

    Returns:
        The data of the trials of each data set.

    Raises:
        StudyError: one line that names the place, the rule and the value.
    """
    place = study.source
    for name in study.data.datasets if study.data.dataset is not None else ():
        if name not in DATASETS:
            raise StudyError(f"{place}: data.dataset: no data set of this name{suggestion(name, dict(DATASETS))}")
    preset = study.data.augmentation
    if preset is not None and preset not in AUGMENTATIONS:
        hint = suggestion(preset, dict(AUGMENTATIONS))
        raise StudyError(f"{place}: data.augmentation: no preset of this name{hint}")
    _check_hyperparameters(study)
    _check_outcome(study)
    data = {name: _trial_data(study, name) for name in study.data.datasets}
    for told in data.values():
        try:
            check_encoder(study.model.encoder, dataset_of(told))
        except ValueError as error:
            raise StudyError(f"{place}: model.encoder: {error}") from None
    _check_batches(study, data)
    count = (
        len(study.data.datasets)
        * len(study.seeds)
        * sum(
            1 if family.loss == UNTRAINED else num_configurations(study, family) for family in study.families.values()
        )
    )
    if count > MOST_TRIALS:
        raise StudyError(f"{place}: the study plans {count:,} trials; expected at most {MOST_TRIALS:,}")
    return data


def _trial_data(study: Study, name: str) -> TrialData:
    try:
        told = describe(study.data, name)
    except DataError as error:
        raise StudyError(f"{study.source}: {error}") from None
    facts = dataset_of(told)
    preset = study.data.augmentation or facts.augmentation
    if preset in COLOUR_AUGMENTATIONS and facts.shape[0] != 3:
        rule = f"{preset} changes colours, expected images of 3 channels, got {name} with {facts.shape[0]}"
        raise StudyError(f"{study.source}: data.augmentation: {rule}; crop_flip suits it")
    return {**told, "augmentation": preset}


def _check_hyperparameters(study: Study) -> None:
    """Those of installed packages become columns when results are analysed."""
    for family in study.families.values():
        for name in family.hyperparameters:
            if name in TRIALS_SCHEMA.names and name not in HYPERPARAMETER_COLUMNS:
                rule = "a column of the results has this name; call the hyperparameter otherwise"
                raise StudyError(f"{study.source}: families.{family.label}.{name}: {rule}")


def _check_outcome(study: Study) -> None:
    outcome, probes = study.analysis.outcome, study.evaluation.probes
    measured = measured_columns(probes)
    if outcome not in measured:
        known = {name: None for name in NUMERIC_OUTCOMES if name in measured}
        hint = suggestion(outcome, known)
        raise StudyError(f"{study.source}: analysis.outcome: {outcome!r} is not measured by this study{hint}")
    on_the_way = measured_columns([probe for probe in probes if probe not in AT_THE_END]) - {"h_lidar", "z_lidar"}
    if study.design.scheduler is not None and outcome not in on_the_way:
        rule = f"{study.design.scheduler} compares trials on the way, and {outcome} is measured at the end only"
        hint = "knn_top1 (probe knn)" if outcome.endswith("_top1") else "final_loss"
        raise StudyError(f"{study.source}: analysis.outcome: {rule}; {hint} is measured after every evaluated epoch")


def _check_batches(study: Study, data: Mapping[str, TrialData]) -> None:
    axis = study.axes.get("batch_size")
    sizes = [int(size) for size in axis.levels] if axis else [int(PACK_AXES["batch_size"].default)]
    for name, told in data.items():
        available = dataset_of(told).num_train
        if max(sizes) > available:
            origin = "axes.batch_size" if axis else "axes.batch_size (default)"
            rule = f"{name} has {available} training images, got a batch size of {max(sizes)}"
            raise StudyError(f"{study.source}: {origin}: {rule}")
    policies = study.axes["batch_policy"].levels if "batch_policy" in study.axes else ()
    for policy, told, size in product(policies, data.values(), sizes):
        try:
            check_policy(str(policy), dataset_of(told).num_train, batch_size=size)
        except ValueError as error:
            raise StudyError(f"{study.source}: axes.batch_policy: {error}") from None
    if "full" in policies:
        sizes += [dataset_of(told).num_train for told in data.values()]
    if study.training.images is not None and study.training.images < max(sizes):
        rule = f"expected at least one batch of {max(sizes)}, got {study.training.images}"
        raise StudyError(f"{study.source}: training.images: {rule}")


def rows_of(
    study: Study, data: Mapping[str, TrialData], chosen: Iterable[tuple[Family, Configuration]]
) -> pd.DataFrame:
    """The trials of configurations on every data set at every seed, without their packs.

    Args:
        data: what trials tell of each data set, as `check` returns it.
        chosen: configurations with a value for every axis of their family, `untrained` with none.
    """
    chosen = list(chosen)
    rows = [
        _row(study, told, family, configuration, seed)
        for told in data.values()
        for family, configuration in chosen
        for seed in study.seeds
    ]
    return pd.DataFrame(rows, columns=PLAN_SCHEMA.names)


def _row(study: Study, data: TrialData, family: Family, configuration: Configuration, seed: int) -> dict[str, Any]:
    trial = _trial(study, data, family, configuration, seed)
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
        "batch_policy": batch_policy(trial) if training else None,
        "learning_rate": training.get("learning_rate"),
        "weight_decay": training.get("weight_decay"),
        **known,
        "extra_hyperparameters": canonical_json(extra) if extra else None,
        "dataset": data["dataset"],
        "encoder": study.model.encoder,
        "trial": trial.json,
    }


def _trial(study: Study, data: TrialData, family: Family, configuration: Configuration, seed: int) -> Trial:
    untrained = family.loss == UNTRAINED
    model = study.model.model_dump()
    if "projector_dim" in configuration:
        model["projector"] = [*model["projector"][:-1], configuration["projector_dim"]]
    training = study.training.model_dump(exclude_none=True)
    training["batch_size"] = configuration.get("batch_size", PACK_AXES["batch_size"].default)
    training |= {name: value for name, value in configuration.items() if name in TRAINING_AXES}
    if configuration.get("batch_policy", "shuffled") != "shuffled":
        training["batch_policy"] = configuration["batch_policy"]
    return Trial(
        data=data,
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
