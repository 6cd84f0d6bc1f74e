"""Study -> plan: every trial, its id and its pack, frozen before anything runs."""

from robustness.plan.cost import evaluation_updates, num_updates, pack_costs, steps_per_epoch
from robustness.plan.extension import extend
from robustness.plan.trials import plan

__all__ = ["evaluation_updates", "extend", "num_updates", "pack_costs", "plan", "steps_per_epoch"]
