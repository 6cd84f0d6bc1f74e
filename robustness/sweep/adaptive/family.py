"""Suggestions for one family, by what its configurations have scored so far."""

from optuna import logging
from ray.tune.search.optuna import OptunaSearch

from robustness.plan import Configuration, varying_axes
from robustness.sweep.adaptive.sampler import RepeatableSampler, configuration_of, distribution, params_of
from search_spaces.study import Family, Study

_METRIC = "outcome"


class FamilySearch:
    """Ray Tune's OptunaSearch for one family, with configurations in place of Optuna's parameters.

    Args:
        family: with at least one axis that varies.
        repeats: how many suggestions of earlier runs were known configurations.
    """

    def __init__(self, study: Study, family: Family, *, repeats: int) -> None:
        logging.set_verbosity(logging.ERROR)
        self.family = family
        self.num_repeats = self.num_suggested = repeats
        self.axes = varying_axes(study, family)
        self.sampler = RepeatableSampler(study.design.kind, seed=study.design.seed, family=family.label)
        self.search = OptunaSearch(
            {axis.name: distribution(axis.dimension) for axis in self.axes},
            metric=_METRIC,
            mode="max" if study.analysis.direction == "maximize" else "min",
            sampler=self.sampler,
        )

    def ask(self) -> tuple[str, Configuration]:
        """The next suggestion: a name by which to `tell` of it, and a value for each varying axis."""
        name = str(self.num_suggested)
        self.sampler.number = self.num_suggested
        params = self.search.suggest(name)
        self.num_suggested += 1
        return name, configuration_of(self.axes, params)

    def tell(self, name: str, outcome: float) -> None:
        """What came of a suggestion; finite."""
        self.search.on_trial_complete(name, {_METRIC: outcome})

    def learn(self, configuration: Configuration, outcome: float) -> None:
        """What came of a configuration that was suggested by an earlier run; finite."""
        self.search.add_evaluated_point(params_of(self.axes, configuration), outcome)
