"""How much work a trial is, before it runs: enough to order packs and to fill a progress bar."""

import math

import pandas as pd

from robustness.models.cost import network_cost
from robustness.trial import Trial

# Seconds on one CPU core, members of a pack in one computation.
_OPERATIONS_PER_SECOND = 5e10
_SECONDS_PER_UPDATE = 0.0003
_SECONDS_PER_IMAGE = 1e-5
_SECONDS_PER_EVALUATION = 0.05
_SECONDS_PER_PROBE = 0.15
_PASSES = 3
"""Forward, and backward for weights and for what they multiply."""
_GRADIENT_BATCHES = 128
_GRADIENT_IMAGES = 1024
_SECONDS_PER_GRADIENT = 0.5
_VIEWS_PER_IMAGE = {"corruptions": 25, "cifar_c": 95}
"""Corruptions times severities: so often each measured test image is embedded, once, at the end."""


def num_updates(trial: Trial) -> int:
    """How many updates a trial makes; 0 for the untrained encoder."""
    if trial.training is None:
        return 0
    training = trial.training
    if "updates" in training:
        return int(training["updates"])
    if "images" in training:
        return int(training["images"]) // images_per_update(trial)
    return int(training["epochs"]) * steps_per_epoch(trial)


def steps_per_epoch(trial: Trial) -> int:
    """Updates after which the batch policy is through with the training images: mostly the whole batches in them."""
    assert trial.training is not None
    num_images, batch_size = trial.dataset.num_train, int(trial.training["batch_size"])
    policy = batch_policy(trial)
    if policy == "all_subsets":
        return math.comb(num_images, batch_size)
    return 1 if policy == "full" else num_images // batch_size


def batch_policy(trial: Trial) -> str:
    """Which images meet in a batch; `shuffled` stands in no trial, so that it has the id it always had."""
    return str((trial.training or {}).get("batch_policy", "shuffled"))


def images_per_update(trial: Trial) -> int:
    """Images that one update sees, each in two views; 0 for the untrained encoder."""
    if trial.training is None:
        return 0
    return trial.dataset.num_train if batch_policy(trial) == "full" else int(trial.training["batch_size"])


def evaluation_updates(trial: Trial, *, every: int | None) -> list[int]:
    """After which updates a trial is evaluated: every `every` epochs if set, and at the end.

    Before the first as well where gradients are measured: those of a fresh encoder are of interest.
    """
    total = num_updates(trial)
    if every is None or trial.training is None:
        return [total]
    stride = every * steps_per_epoch(trial)
    first = 0 if "gradient" in trial.evaluation["probes"] else stride
    return [*range(first, total, stride), total]


def pack_costs(planned: pd.DataFrame, *, every: int | None) -> dict[str, float]:
    """Expected core-seconds of every pack, for the most expensive to go first."""
    costs: dict[str, float] = {}
    for pack, text in zip(planned["pack_id"], planned["trial"], strict=True):
        trial = Trial.from_json(text)
        costs[pack] = costs.get(pack, 0.0) + _trial_cost(trial, every=every)
    return costs


def update_cost(trial: Trial) -> float:
    """Expected core-seconds of an update."""
    return _SECONDS_PER_UPDATE + images_per_update(trial) * (_SECONDS_PER_IMAGE + 2 * _PASSES * _forward(trial))


def _forward(trial: Trial) -> float:
    """Expected core-seconds of the network on one image."""
    model = trial.model
    network = network_cost(
        model["encoder"], model["projector"], dataset=trial.dataset, batch_norm=model["projector_batch_norm"]
    )
    return network.operations / _OPERATIONS_PER_SECOND


def _trial_cost(trial: Trial, *, every: int | None) -> float:
    facts, forward, per_update = trial.dataset, _forward(trial), update_cost(trial)
    num_images = facts.num_fit + facts.num_validation + facts.num_test
    per_evaluation = _SECONDS_PER_EVALUATION + num_images * forward
    evaluations = len(evaluation_updates(trial, every=every))
    if trial.training is not None and "gradient" in trial.evaluation["probes"]:
        full_batches = 2 * 2 * _GRADIENT_IMAGES * _PASSES * forward
        per_evaluation += _GRADIENT_BATCHES * per_update + full_batches + _SECONDS_PER_GRADIENT
    measured = min(facts.num_test, int(trial.evaluation["images"]))
    views = measured * sum(_VIEWS_PER_IMAGE.get(probe, 0) for probe in trial.evaluation["probes"])
    at_the_end = views * (_SECONDS_PER_IMAGE + forward) + _SECONDS_PER_PROBE
    return per_update * num_updates(trial) + per_evaluation * evaluations + at_the_end
