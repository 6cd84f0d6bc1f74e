"""Axes as Optuna knows them, and samplers whose draws can be repeated."""

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial

from robustness.plan import Configuration
from robustness.seeds import derive
from search_spaces.axes import Axis
from search_spaces.dimensions import Choice, Dimension, Integer, planned

Params = dict[str, Any]

STARTUP_TRIALS = 10
"""So many configurations of a family are drawn at random before a model of them suggests more."""


def distribution(dimension: Dimension) -> BaseDistribution:
    """Where Optuna draws values of a dimension from; of a list with an order, the index."""
    if isinstance(dimension, Choice):
        if dimension.scale is None:
            return CategoricalDistribution(dimension.values)
        return IntDistribution(0, len(dimension.values) - 1)
    log = dimension.scale != "linear"
    if isinstance(dimension, Integer):
        return IntDistribution(dimension.low, dimension.high, log=log)
    return FloatDistribution(dimension.low, dimension.high, log=log)


def params_of(axes: Sequence[Axis], configuration: Configuration) -> Params:
    """A configuration as Optuna's parameters."""
    return {axis.name: _param(axis.dimension, configuration[axis.name]) for axis in axes}


def configuration_of(axes: Sequence[Axis], params: Params) -> Configuration:
    """The configuration of Optuna's parameters: the inverse of `params_of`."""
    return {axis.name: _value(axis.dimension, params[axis.name]) for axis in axes}


def _param(dimension: Dimension, value: Any) -> Any:
    if isinstance(dimension, Choice):
        return value if dimension.scale is None else dimension.values.index(value)
    return type(dimension.low)(value)


def _value(dimension: Dimension, param: Any) -> Any:
    return dimension.values[param] if isinstance(dimension, Choice) and dimension.scale is not None else param


class RepeatableSampler(BaseSampler):
    """TPE or a Gaussian process, seeded anew for each suggestion.

    A suggestion depends on the seed, the family, its number, and what came of those before: a sweep that was
    interrupted suggests the same as one that was not. Floats are rounded as planned ones are, so that a model is told
    of exactly what was trained.

    Args:
        kind: `tpe` or `gp`.
        seed, family: of the design.
    """

    def __init__(self, kind: str, *, seed: int, family: str) -> None:
        self.kind, self.seed, self.family = kind, seed, family
        self.number = 0
        """Of the next suggestion; whoever asks counts."""
        self.before_trial()

    def before_trial(self, *_: object) -> None:
        """Seed what draws this trial."""
        seed = derive(self.seed, "suggest", self.family, self.number) % 2**32
        self.sampler: BaseSampler = (
            GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False)
            if self.kind == "gp"
            else TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True)
        )

    def infer_relative_search_space(self, study: OptunaStudy, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are drawn together."""
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        """Values of parameters that are drawn together."""
        found = self.sampler.sample_relative(study, trial, search_space)
        return {name: _rounded(value) for name, value in found.items()}

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of a parameter that is drawn alone."""
        return _rounded(self.sampler.sample_independent(study, trial, param_name, param_distribution))


def _rounded(value: Any) -> Any:
    return planned(value) if isinstance(value, float) else value
