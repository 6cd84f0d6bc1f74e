"""Trials of adaptive designs: of a configuration once it is suggested, and what a plan holds so far."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robustness.plan.checks import TrialData, check
from robustness.plan.cost import batch_policy
from robustness.plan.designs import Configuration, family_axes, num_configurations, varying_axes
from robustness.plan.trials import cut_packs, plan, rows_of
from robustness.trial import Trial
from search_spaces.axes import Axis
from search_spaces.dimensions import Choice
from search_spaces.families import UNTRAINED
from search_spaces.study import Family, Study


def num_expected(study: Study) -> dict[str, int]:
    """How many trials each family will have once the study is done, by its label, with no data read.

    At most so many in an adaptive design: a configuration that is suggested again is not run again.
    """
    each = len(study.seeds) * len(study.data.datasets)
    return {
        label: each * (1 if family.loss == UNTRAINED else num_configurations(study, family))
        for label, family in study.families.items()
    }


def expected(study: Study) -> pd.DataFrame:
    """Trials such as a study will have once it is done, to count them and to tell what they cost.

    Those of its plan; of an adaptive design, random configurations stand in for the ones that will be suggested.
    """
    if not study.design.adaptive:
        return plan(study)
    data, draw = check(study), np.random.default_rng(study.design.seed)
    parts = [plan(study)]
    for family in study.families.values():
        axes = varying_axes(study, family)
        points = draw.random((num_configurations(study, family) if axes else 0, len(axes)))
        drawn = [{axis.name: axis.dimension.value(x) for axis, x in zip(axes, point, strict=True)} for point in points]
        parts.append(suggested(study, data, family, drawn))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def suggested(
    study: Study, data: Mapping[str, TrialData], family: Family, configurations: list[Configuration]
) -> pd.DataFrame:
    """The trials of suggested configurations on every data set at every seed, with their packs.

    Args:
        data: what trials tell of each data set, as `robustness.plan.check` returns it.
        configurations: a value for each varying axis of the family; other axes have the one of the study.

    Returns:
        A row a trial with the columns of `robustness.store.PLAN_SCHEMA`. The seeds of one configuration are in
        different packs.
    """
    fixed = {axis.name: axis.levels[0] for axis in family_axes(study, family) if not axis.varies}
    rows = rows_of(study, data, [(family, fixed | configuration) for configuration in configurations])
    return cut_packs(rows, size=study.pack.size)


@dataclass(frozen=True)
class Known:
    """A configuration that a plan holds.

    Args:
        family: its label.
        configuration: a value for each varying axis of the family.
        trial_ids: its trials in planned order, one for each data set and seed.
    """

    family: str
    configuration: Configuration
    trial_ids: tuple[str, ...]


def known_configurations(study: Study, planned: pd.DataFrame) -> list[Known]:
    """The configurations that a plan holds of adaptive families, in the order in which they were suggested.

    Trials of other designs are left out, and those with values that the study's axes no longer hold.
    """
    axes = {label: varying_axes(study, family) for label, family in study.families.items()}
    adaptive = planned["family"].isin([label for label in axes if axes[label]])
    own = planned[adaptive & (planned["design"] == study.design.kind)]
    found: dict[tuple[Any, ...], tuple[str, Configuration, list[str]]] = {}
    for label, trial_id, text in zip(own["family"], own["trial_id"], own["trial"], strict=True):
        configuration = configuration_of(Trial.from_json(text), axes[label])
        if all(_holds(axis, configuration) for axis in axes[label]):
            found.setdefault((label, *configuration.values()), (label, configuration, []))[2].append(trial_id)
    return [Known(label, configuration, tuple(ids)) for label, configuration, ids in found.values()]


def configuration_of(trial: Trial, axes: list[Axis]) -> Configuration:
    """The values that a trial has on those of the axes that it knows."""
    model = {"projector_dim": trial.model["projector"][-1], "batch_policy": batch_policy(trial)}
    values = {**model, **(trial.training or {}), **trial.hyperparameters}
    return {axis.name: values[axis.name] for axis in axes if axis.name in values}


def _holds(axis: Axis, configuration: Configuration) -> bool:
    dimension, value = axis.dimension, configuration.get(axis.name)
    if isinstance(dimension, Choice):
        return value in dimension.values
    return isinstance(value, int | float) and dimension.low <= value <= dimension.high
