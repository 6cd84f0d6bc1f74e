"""Bytes of files on any filesystem: written whole or not at all, and the first writer wins where that is asked for."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import fsspec
from fsspec.registry import known_implementations
from upath import UPath

from robustness.store import objects

Folder = Path | UPath
"""A results folder or a file in it: `Path` on this machine, `UPath` for a URI."""

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


class StoreError(ValueError):
    """What is wrong with a results folder, in one line."""


def open_folder(text: str | Folder) -> Folder:
    """The folder of that name: a path as it was given, or a URI such as s3://bucket/prefix.

    Nothing is read or made. Credentials come from the environment or the machine's role, the address of a private
    object store from AWS_ENDPOINT_URL.

    Raises:
        StoreError: no such protocol, its package is not installed, or the URI holds no bucket or a password.
    """
    if isinstance(text, UPath):
        return text
    protocol, separator, rest = str(text).partition("://")
    if not separator or protocol in ("file", "local"):
        return Path(rest or text).expanduser()
    if "@" in rest.partition("/")[0]:
        raise StoreError(f"{protocol}://...: a URI holds no credentials; set them in the environment")
    _check_protocol(str(text), protocol)
    if not rest.strip("/"):
        raise StoreError(f"{text}: expected a bucket and a prefix, such as {protocol}://bucket/results")
    # Others write here at the same time: a remembered listing would be a wrong one.
    return UPath(str(text).rstrip("/"), use_listings_cache=False)


def _check_protocol(text: str, protocol: str) -> None:
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        raise StoreError(f"{text}: no such protocol: {protocol}; expected a path or a URI such as s3://...") from None
    except ImportError:
        extra = _EXTRAS.get(protocol)
        hint = f"pip install 'robustness[{extra}]'" if extra else known_implementations[protocol].get("err", "")
        raise StoreError(f"{text}: the package for {protocol}:// is not installed: {hint}") from None


def read_bytes(path: Folder) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: there is none.
        OSError: it can't be read, after all attempts.
    """
    return path.read_bytes() if isinstance(path, Path) else objects.get(path)


def open_bytes(path: Folder) -> BinaryIO:
    """A file to read parts of.

    Raises:
        FileNotFoundError: there is none.
        OSError: it can't be read.
    """
    return path.open("rb") if isinstance(path, Path) else objects.open_to_read(path)


def write_bytes(path: Folder, content: bytes, *, replace: bool) -> bool:
    """Publish a file at once, so that whoever is killed meanwhile leaves the old one, the new one or none.

    Args:
        replace: whether an older file gives way; otherwise the first writer wins.

    Returns:
        False where another file was there first.

    Raises:
        OSError: the disk is full or gone, or the object store did not answer; nothing was published.
    """
    if isinstance(path, Path):
        return _write_local(path, content, replace=replace)
    if replace:
        objects.put(path, content)
        return True
    return objects.create(path, content)


def replace_bytes(path: Folder, content: bytes, *, version: str) -> bool:
    """Replace a file that is still the one of that `version`; False where it is not."""
    if not isinstance(path, Path):
        return objects.put_over(path, content, version=version)
    with _alone_in(path.parent):
        return file_version(path) == version and _write_local(path, content, replace=True)


def file_version(path: Folder) -> str | None:
    """A text that changes whenever the file is written; None where there is no file."""
    if not isinstance(path, Path):
        return objects.version(path)
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"


def remove(path: Folder) -> None:
    """Delete a file, if it is there."""
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
    else:
        objects.remove(path)


def file_names(folder: Folder) -> set[str]:
    """Names of all files in a folder but hidden ones; none where there is no folder."""
    if isinstance(folder, Path):
        try:
            names = {entry.name for entry in os.scandir(folder) if entry.is_file()}
        except FileNotFoundError:
            return set()
    else:
        names = objects.names(folder)
    return {name for name in names if not name.startswith(".")}


def make_folder(folder: Folder) -> None:
    """Make a folder where the filesystem has such; an object store has none."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
    else:
        objects.make_folder(folder)


def _write_local(path: Path, content: bytes, *, replace: bool) -> bool:
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return _publish(temporary, path, replace=replace)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _publish(temporary: Path, path: Path, *, replace: bool) -> bool:
    if replace:
        temporary.replace(path)
    else:
        # A hard link fails where the name exists, which a rename does not: the first writer wins.
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            if path.exists():
                return False
            temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One replacement at a time; the system ends the lock of a process that dies."""
    with (folder / ".lock").open("a") as lock:
        # A filesystem without locks still compares versions just before it renames.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
