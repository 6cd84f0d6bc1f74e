"""What only the registries and the files know of a study: names and sizes of data sets, encoders, outcomes."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from robustness.data import AUGMENTATIONS, COLOUR_AUGMENTATIONS, DataError, cifar_c, describe
from robustness.data.policies import check_policy
from robustness.metrics import AT_THE_END, FREE_OUTCOMES, WITHOUT_IMAGES, measured_columns
from robustness.models import TABLE
from robustness.models import check as check_encoder
from robustness.plan.designs import num_configurations
from robustness.store import HYPERPARAMETER_COLUMNS, NUMERIC_OUTCOMES, TRIALS_SCHEMA
from search_spaces.axes import StudyError, suggestion
from search_spaces.datasets import DATASETS, PAIRS, dataset_of, known_dataset
from search_spaces.families import UNTRAINED
from search_spaces.hyperparameters import PACK_AXES
from search_spaces.study import Study

MOST_TRIALS = 10_000_000

TrialData = Mapping[str, Any]
"""What a trial tells of its data: name, augmentation, and of files their content and facts."""


def check(study: Study) -> dict[str, TrialData]:
    """Check what only the registries and the files know: names and sizes of data sets, encoders, outcomes.

    Returns:
        The data of the trials of each data set.

    Raises:
        StudyError: one line that names the place, the rule and the value.
    """
    place = study.source
    for name in study.data.datasets if study.data.dataset is not None else ():
        if known_dataset(name) is None:
            hint = suggestion(name, [*DATASETS, PAIRS])
            raise StudyError(f"{place}: data.dataset: no data set of this name{hint}")
    preset = study.data.augmentation
    if preset is not None and preset not in AUGMENTATIONS:
        hint = suggestion(preset, dict(AUGMENTATIONS))
        raise StudyError(f"{place}: data.augmentation: no preset of this name{hint}")
    if study.data.num_pairs is not None:
        _check_free_pairs(study)
    if "cifar_c" in study.evaluation.probes:
        _check_cifar(study)
    _check_projector(study)
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


def _check_free_pairs(study: Study) -> None:
    if study.data.augmentation is not None:
        rule = "free pairs have their two views; remove it"
        raise StudyError(f"{study.source}: data.augmentation: {rule}, got {study.data.augmentation!r}")
    labelled = [probe for probe in study.evaluation.probes if probe not in WITHOUT_IMAGES]
    if labelled:
        rule = f"free pairs have neither classes nor pixels, expected none but {' and '.join(WITHOUT_IMAGES)}"
        raise StudyError(f"{study.source}: evaluation.probes: {rule}, got {labelled[0]!r}")


def _check_cifar(study: Study) -> None:
    others = [name for name in study.data.datasets if study.data.dataset is None or name not in cifar_c.FOLDERS]
    if others:
        rule = f"cifar_c measures {' and '.join(cifar_c.FOLDERS)} alone; corruptions suits all images"
        raise StudyError(f"{study.source}: evaluation.probes: {rule}, got {others[0]}")


def _check_projector(study: Study) -> None:
    """A table is the embeddings themselves."""
    model = study.model
    if model.encoder != TABLE:
        return
    if len(model.projector) > 1:
        rule = f"a {TABLE} has no projector, expected one number, the embeddings' width"
        raise StudyError(f"{study.source}: model.projector: {rule}, got {model.projector}")
    if model.projector_batch_norm:
        raise StudyError(f"{study.source}: model.projector_batch_norm: a {TABLE} has no projector; expected false")


def _check_hyperparameters(study: Study) -> None:
    """Those of installed packages become columns when results are analysed."""
    for family in study.families.values():
        for name in family.hyperparameters:
            if name in TRIALS_SCHEMA.names and name not in HYPERPARAMETER_COLUMNS:
                rule = "a column of the results has this name; call the hyperparameter otherwise"
                raise StudyError(f"{study.source}: families.{family.label}.{name}: {rule}")


def _check_outcome(study: Study) -> None:
    outcome, probes = study.analysis.outcome, study.evaluation.probes
    free = set() if study.data.num_pairs is None else set(FREE_OUTCOMES)
    measured = measured_columns(probes) | free
    if outcome not in measured:
        known = {name: None for name in NUMERIC_OUTCOMES if name in measured}
        hint = suggestion(outcome, known)
        raise StudyError(f"{study.source}: analysis.outcome: {outcome!r} is not measured by this study{hint}")
    not_at_the_end = [probe for probe in probes if probe not in AT_THE_END]
    on_the_way = (measured_columns(not_at_the_end) | free) - {"h_lidar", "z_lidar"}
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
