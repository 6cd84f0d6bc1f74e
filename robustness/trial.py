"""A trial: everything that decides a result, and what came of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal

from search_spaces.datasets import Dataset, dataset_of
from search_spaces.dimensions import planned

PROTOCOL_VERSION = 3
"""Raised whenever the same trial would score differently, so that old and new results never mix."""

Status = Literal["ok", "diverged", "out_of_memory", "timeout", "stopped", "error"]


def canonical_json(value: Any) -> str:
    """One text for one meaning: sorted keys, 12-digit floats, whole floats as integers, nulls left out.

    Nulls are left out so that a key which later versions add, null by default, keeps old ids.
    """
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [_canonical(entry) for entry in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else planned(value)
    return value


def digest(text: str) -> str:
    """BLAKE2b of 16 bytes, as 32 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def pack_id(trial_ids: list[str]) -> str:
    """The id of the pack that holds exactly these trials, in whatever order they are listed."""
    return digest(canonical_json(sorted(trial_ids)))


@dataclass(frozen=True)
class Trial:
    """A configuration and a seed.

    Args:
        data: dataset and augmentation.
        model: encoder, projector (widths, the embedding's last) and projector_batch_norm.
        training: length, optimiser, batch_size, learning_rate, ...; None for the untrained encoder.
        evaluation: probes and images; how often to look on the way does not change a result.
        loss: a name of the loss registry, or `untrained`.
        hyperparameters: the loss's own.
        seed: every generator of the trial derives from it.
    """

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    training: Mapping[str, Any] | None
    evaluation: Mapping[str, Any]
    loss: str
    hyperparameters: Mapping[str, float]
    seed: int

    @property
    def dataset(self) -> Dataset:
        """What is known of the data."""
        return dataset_of(self.data)

    @cached_property
    def json(self) -> str:
        """Canonical JSON of all fields and the protocol version: what the id is a hash of."""
        fields = ("data", "model", "training", "evaluation", "loss", "hyperparameters", "seed")
        return canonical_json({name: getattr(self, name) for name in fields} | {"protocol": PROTOCOL_VERSION})

    @cached_property
    def trial_id(self) -> str:
        """BLAKE2b of `json`."""
        return digest(self.json)

    @classmethod
    def from_json(cls, text: str) -> "Trial":
        """The trial whose `json` this is.

        Raises:
            ValueError: it was planned under another protocol, so its id would not be this code's.
        """
        fields = json.loads(text)
        protocol = fields.pop("protocol")
        if protocol != PROTOCOL_VERSION:
            raise ValueError(
                f"planned under protocol {protocol}, this version runs protocol {PROTOCOL_VERSION}: "
                "results would not be comparable; use another output folder"
            )
        return cls(**{"training": None, **fields})


@dataclass(frozen=True)
class TrialResult:
    """What came of one trial.

    Args:
        status: `ok`, or why there are no outcomes.
        error: the reason in words, None when ok.
        epochs, updates, images: what was done.
        outcomes: values of outcome columns; empty unless ok.
        cost: values of cost columns.
        history: one mapping per evaluated epoch.
        weights: of the trained network by name, tensors; None unless they are to be kept.
    """

    status: Status
    error: str | None = None
    epochs: float = 0.0
    updates: int = 0
    images: int = 0
    outcomes: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    weights: Mapping[str, Any] | None = None
