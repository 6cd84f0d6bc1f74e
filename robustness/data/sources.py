"""Where the images of a trial come from: a known data set, a file of arrays, or a folder of images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from robustness.data import arrays, cifar_c, folders
from robustness.data.datasets import read_known
from robustness.data.splits import DataError, Splits
from search_spaces.datasets import Dataset, written
from search_spaces.sections import Data


def describe(data: Data, name: str) -> dict[str, Any]:
    """The data of a trial but for its augmentation; `search_spaces.datasets.dataset_of` reads the facts from it.

    Known data sets need no files. Files are read, and enter by their content and not by their path.

    Args:
        data: the section of a study.
        name: one of `data.datasets`.

    Raises:
        DataError: files can't be read or are not what they should be, in one line.
    """
    if data.npz is not None:
        path = _path(data.npz)
        content = arrays.content_of(path)
        return {"dataset": name, **written(_facts_of_arrays(path, content), content)}
    if data.imagefolder is not None:
        folder = folders.listed(_path(data.imagefolder))
        facts = _facts_of_folder(folder.path, folder.content, _side(data))
        return {"dataset": name, **written(facts, folder.content)}
    return {"dataset": name}


def load(trial_data: Mapping[str, Any], source: Data | None = None, *, probes: Sequence[str] = ()) -> Splits:
    """Read the images of a trial.

    Args:
        trial_data: the `data` of a trial.
        source: where they lie; the defaults of a study unless given, which name no files.
        probes: of the trial; `cifar_c` needs corrupted test images as well.

    Returns:
        Splits on the CPU: bytes of 0 to 255, but for the digits, which are floats of 0 to 1.

    Raises:
        DataError: they can't be read, or their content is not what was planned, in one line.
    """
    name = trial_data["dataset"]
    if "content" not in trial_data:
        source = Data(dataset=name) if source is None else source
        splits = read_known(name, root=_path(source.root), download=source.download)
        if "cifar_c" not in probes:
            return splits
        return replace(splits, corrupted=cifar_c.find(name, _path(source.root)))
    planned = trial_data["content"]
    if source is not None and source.npz is not None:
        path = _path(source.npz)
        _check_content(f"data.npz: {path}", planned, arrays.content_of(path))
        return arrays.read(path)
    if source is not None and source.imagefolder is not None:
        folder = folders.listed(_path(source.imagefolder))
        _check_content(f"data.imagefolder: {folder.path}", planned, folder.content)
        return folders.read(folder, side=_side(source))
    raise DataError(f"data: {name} was planned from files; expected npz or imagefolder to say where they are")


def _check_content(place: str, planned: str, found: str) -> None:
    if found != planned:
        raise DataError(f"{place}: expected the content that was planned, {planned[:8]}, got {found[:8]}")


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _side(data: Data) -> int:
    return folders.DEFAULT_SIDE if data.image_size is None else data.image_size


@lru_cache(maxsize=8)
def _facts_of_arrays(path: Path, content: str) -> Dataset:
    return arrays.facts(path)


@lru_cache(maxsize=8)
def _facts_of_folder(path: Path, content: str, side: int) -> Dataset:
    return folders.facts(folders.listed(path), side=side)
