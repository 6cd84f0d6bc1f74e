"""Study -> plan: every trial, its id and its pack, frozen before anything runs."""

from robustness.plan.adaptive import Known, expected, known_configurations, num_expected, suggested
from robustness.plan.checks import TrialData, check
from robustness.plan.cost import (
    batch_policy,
    evaluation_updates,
    images_per_update,
    num_updates,
    pack_costs,
    steps_per_epoch,
    update_cost,
)
from robustness.plan.designs import Configuration, varying_axes
from robustness.plan.extension import extend
from robustness.plan.schedule import ends, in_order
from robustness.plan.trials import plan

__all__ = [
    "Configuration",
    "Known",
    "TrialData",
    "batch_policy",
    "check",
    "ends",
    "evaluation_updates",
    "expected",
    "extend",
    "images_per_update",
    "in_order",
    "known_configurations",
    "num_expected",
    "num_updates",
    "pack_costs",
    "plan",
    "steps_per_epoch",
    "suggested",
    "update_cost",
    "varying_axes",
]
