"""Embeddings of a kept encoder, as a file."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import ValidationError

from robustness.data import Splits, load
from robustness.models import Network
from robustness.store import Folder, StoreError, read_encoder, read_plan, read_study
from robustness.store.files import write_bytes
from robustness.training.features import features
from robustness.training.member import initial_network
from robustness.trial import Trial
from search_spaces.sections import Data

Arrays = Mapping[str, np.ndarray]


def embed(folder: Folder, trial_id: str, out: Path) -> int:
    """Write representations and embeddings of all labelled images by the kept encoder of a trial.

    Rows are the images of the splits fit, validation and test, in this order: `h` (dim values each), `z`,
    `labels` (whole numbers from 0) and `split` (its name).

    Args:
        folder: what a sweep left behind.
        trial_id: of a trial whose encoder was kept.
        out: the file to write: .npz for arrays of numpy, .parquet for a table; an older file is replaced.

    Returns:
        The number of rows.

    Raises:
        StoreError: no such study, trial or encoder, or the file can't be written.
        DataError: the images can't be read.
    """
    if out.suffix not in _WRITERS:
        raise StoreError(f"--out: expected a file that ends in {' or '.join(_WRITERS)}, got {out.name!r}")
    if not out.parent.is_dir():
        raise StoreError(f"--out: {out.parent}: no such folder")
    trial = _find(folder, trial_id)
    network = _network(folder, trial)
    arrays = embeddings(network, load(trial.data, _source(folder)))
    try:
        write_bytes(out, _WRITERS[out.suffix](arrays), replace=True)
    except OSError as error:
        raise StoreError(f"--out: {out}: can't write this file: {error.strerror}") from None
    return len(arrays["labels"])


def embeddings(network: Network, splits: Splits) -> Arrays:
    """`h`, `z`, `labels` and `split` of all labelled images, on a GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = next(network.parameters()).dtype
    network = network.to(device)
    labelled = {"fit": splits.fit, "validation": splits.validation, "test": splits.test}
    found = [features(network, split.images.to(device), dtype) for split in labelled.values()]
    return {
        "h": torch.cat([h for h, _ in found]).cpu().numpy(),
        "z": torch.cat([z for _, z in found]).cpu().numpy(),
        "labels": torch.cat([split.labels for split in labelled.values()]).numpy(),
        "split": np.repeat(list(labelled), [len(split.labels) for split in labelled.values()]),
    }


def _find(folder: Folder, trial_id: str) -> Trial:
    planned = read_plan(folder)
    texts = planned.loc[planned["trial_id"] == trial_id, "trial"]
    if texts.empty:
        raise StoreError(f"{folder}: no trial with this id is planned here: {trial_id}")
    try:
        return Trial.from_json(texts.iloc[0])
    except ValueError as error:
        raise StoreError(f"{folder}: {error}") from None


def _source(folder: Folder) -> Data:
    try:
        return Data.model_validate(read_study(folder).get("data"))
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise StoreError(f"{folder / 'study.yaml'}: data: {reason}") from None


def _network(folder: Folder, trial: Trial) -> Network:
    weights = {name: torch.from_numpy(array.copy()) for name, array in read_encoder(folder, trial.trial_id).items()}
    network = initial_network(trial)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise StoreError(f"{folder}: the encoder of trial {trial.trial_id} is of another network: {reason}") from None
    return network


def _npz(arrays: Arrays) -> bytes:
    content = io.BytesIO()
    np.savez(content, h=arrays["h"], z=arrays["z"], labels=arrays["labels"], split=arrays["split"])
    return content.getvalue()


def _parquet(arrays: Arrays) -> bytes:
    columns = {name: _column(array) for name, array in arrays.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _column(array: np.ndarray) -> pa.Array:
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])


_WRITERS: Mapping[str, Callable[[Arrays], bytes]] = {".npz": _npz, ".parquet": _parquet}
