"""Losses of installed packages: the functions of the families that `search_spaces.installed` finds."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor

from robustness.losses import LOSSES, Loss
from search_spaces.axes import StudyError
from search_spaces.families import find_space
from search_spaces.hyperparameters import Space
from search_spaces.installed import LOSS_GROUP, describe, load


def find_loss(name: str) -> Loss:
    """The loss of a family, built in or of an installed package, which is imported when first asked for.

    Raises:
        StudyError: there is no such loss, or its package breaks a rule; one line that names both.
    """
    return LOSSES[name] if name in LOSSES else installed_loss(name)


@cache
def installed_loss(name: str) -> Loss:
    """The loss of a family of an installed package."""
    space = find_space(name)
    place, function = describe(LOSS_GROUP, name), load(LOSS_GROUP, name)
    rule = _broken_rule(function, space)
    if rule is not None:
        raise StudyError(f"{place}: {rule}")
    return Loss(name, _per_member(function, place), space)


def _broken_rule(function: Any, space: Space) -> str | None:
    if not callable(function):
        return f"expected a function, got {function!r}"[:300]
    names = (*space.hyperparameters, *space.bound)
    try:
        inspect.signature(function).bind("u", "v", **dict.fromkeys(names))
    except TypeError as error:
        return f"expected a function of ({', '.join(['u', 'v', *(['*'] if names else []), *names])}): {error}"
    return None


def _per_member(function: Callable[..., Tensor], place: str) -> Callable[..., Tensor]:
    def loss(u: Tensor, v: Tensor, **hyperparameters: Any) -> Tensor:
        values = function(u, v, **hyperparameters)
        # One number for all members would train, each with the others' gradients, and nobody would see it.
        if values.shape != u.shape[:-2]:
            shapes = f"{tuple(u.shape[:-2])} for embeddings of shape {tuple(u.shape)}, got {tuple(values.shape)}"
            raise ValueError(f"{place}: expected values of shape {shapes}")
        return values

    return loss
