"""Objects of a store such as S3: one request each, tried again while the answer is not a definite one."""

import errno
import random
import time
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from upath import UPath

T = TypeVar("T")

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts, after those that the client's own library makes of each."""

_WITHOUT_FOLDERS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl")

_KINDS: tuple[tuple[type[Exception], int], ...] = (
    (FileExistsError, errno.EEXIST),
    (FileNotFoundError, errno.ENOENT),
    (PermissionError, errno.EACCES),
    (NotImplementedError, errno.ENOSYS),
    (TypeError, errno.EINVAL),
    (ValueError, errno.EINVAL),
)
_DEFINITE = {
    errno.EEXIST, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOSPC, errno.EDQUOT,
    errno.ENAMETOOLONG, errno.EMSGSIZE, errno.EISDIR, errno.ENOTDIR,
}  # fmt: skip
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}


def get(path: UPath) -> bytes:
    """The content of an object."""
    content: bytes = _patiently(path, lambda: path.fs.cat_file(path.path))
    return content


def open_to_read(path: UPath) -> BinaryIO:
    """An object to read parts of."""
    file: BinaryIO = _patiently(path, lambda: path.fs.open(path.path, "rb"))
    return file


def put(path: UPath, content: bytes) -> None:
    """Write an object, or replace it."""
    _patiently(path, lambda: path.fs.pipe_file(path.path, content))


def create(path: UPath, content: bytes) -> bool:
    """Write an object that is not there yet; False where another one is.

    A request that was carried out but whose answer was lost is sent again, and then finds its own bytes.
    """
    try:
        _patiently(path, lambda: path.fs.pipe_file(path.path, content, mode="create"))
    except FileExistsError:
        try:
            return get(path) == content
        except FileNotFoundError:
            return False
    return True


def put_over(path: UPath, content: bytes, *, version: str) -> bool:
    """Replace the object of that version; False where it is another one by now, or gone."""
    condition = {}
    if path.protocol in ("s3", "s3a"):
        condition = {"IfMatch": version}
    elif _version(path) != version:
        return False
    try:
        _patiently(path, lambda: path.fs.pipe_file(path.path, content, **condition))
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def version(path: UPath) -> str | None:
    """What changes whenever the object is written; None where there is none."""
    try:
        return _version(path)
    except FileNotFoundError:
        return None


def remove(path: UPath) -> None:
    """Delete an object, if it is there."""
    try:
        _patiently(path, lambda: path.fs.rm_file(path.path))
    except FileNotFoundError:
        return


def names(folder: UPath) -> set[str]:
    """Names of the objects right below a prefix."""
    try:
        found = _patiently(folder, lambda: _entries(folder))
    except FileNotFoundError:
        return set()
    return {entry["name"].rstrip("/").rpartition("/")[2] for entry in found if entry["type"] == "file"}


def _entries(folder: UPath) -> list[dict[str, Any]]:
    """What the filesystem tells of everything right below a prefix."""
    entries: list[dict[str, Any]] = folder.fs.ls(folder.path, detail=True)
    return entries


def make_folder(folder: UPath) -> None:
    """Make a folder, but never a bucket: a misspelt one is an error of the first write."""
    if folder.protocol not in _WITHOUT_FOLDERS:
        _patiently(folder, lambda: folder.fs.makedirs(folder.path, exist_ok=True))


def _version(path: UPath) -> str:
    def ask() -> str:
        info = path.fs.info(path.path)
        return str(info["ETag"] if "ETag" in info else path.fs.ukey(path.path))

    return _patiently(path, ask)


def _patiently(path: UPath, request: Callable[[], T]) -> T:
    for pause in PAUSES:
        try:
            return request()
        except Exception as error:
            told = _plain(path, error)
            if told.errno in _DEFINITE:
                raise told from error
            # Many workers are told to slow down at once: they come back at different times.
            time.sleep(pause * random.uniform(0.5, 1.5))
    try:
        return request()
    except Exception as error:
        raise _plain(path, error) from error


def _plain(path: UPath, error: Exception) -> OSError:
    """The error as the system's own kind of one, in one line, whichever library it came from."""
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return OSError(_number(error), " ".join(str(told).split())[:300], str(path))


def _number(error: Exception) -> int:
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    # Some servers don't say which condition failed; only conditional writes of ours have one.
    if code in ("PreconditionFailed", "412"):
        return errno.EEXIST
    if type(error).__name__ in _NO_CREDENTIALS:
        return errno.EACCES
    for kind, number in _KINDS:
        if isinstance(error, kind):
            return number
    return getattr(error, "errno", None) or errno.EIO
