"""Study -> every trial with its id and pack, as a table."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from robustness.plan.checks import TrialData, check
from robustness.plan.cost import batch_policy
from robustness.plan.designs import Configuration, configurations
from robustness.store import HYPERPARAMETER_COLUMNS, PLAN_SCHEMA
from robustness.trial import Trial, canonical_json, pack_id
from search_spaces.axes import StudyError
from search_spaces.families import UNTRAINED
from search_spaces.hyperparameters import PACK_AXES, TRAINING_AXES
from search_spaces.study import Family, Study


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
