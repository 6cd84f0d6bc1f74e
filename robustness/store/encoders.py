"""The weights of trained networks, one file a trial."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from robustness.store.files import Folder, StoreError, make_folder, read_bytes, remove, write_bytes


def write_encoder(folder: Folder, trial_id: str, weights: Mapping[str, Any]) -> None:
    """Store a network's weights as DIR/encoders/<trial_id>.safetensors; replaces an older file atomically.

    Args:
        weights: by name: arrays of numpy, or tensors on the CPU without gradients.

    Raises:
        OSError: the disk is full or gone; an older file stays as it was.
    """
    path = encoder_path(folder, trial_id)
    make_folder(path.parent)
    arrays = {name: np.asarray(value, order="C") for name, value in weights.items()}
    write_bytes(path, save(arrays), replace=True)


def read_encoder(folder: Folder, trial_id: str) -> dict[str, np.ndarray]:
    """The stored weights of a trial's network, by name.

    Raises:
        StoreError: they were not kept, or the file is damaged.
    """
    path = encoder_path(folder, trial_id)
    try:
        weights: dict[str, np.ndarray] = load(read_bytes(path))
    except FileNotFoundError:
        rule = "set evaluation.keep to best or all before the sweep"
        raise StoreError(f"{folder}: the encoder of trial {trial_id} was not kept; {rule}") from None
    except SafetensorError as error:
        raise StoreError(f"{path}: damaged or not safetensors: {' '.join(str(error).split())[:200]}") from None
    return weights


def remove_encoder(folder: Folder, trial_id: str) -> None:
    """Delete the stored weights of a trial's network, if there are any."""
    remove(encoder_path(folder, trial_id))


def encoder_path(folder: Folder, trial_id: str) -> Folder:
    """Where the weights of a trial's network lie, if they were kept."""
    return folder / "encoders" / f"{trial_id}.safetensors"
