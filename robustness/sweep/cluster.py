"""Joining or starting Ray, quietly and with a token."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from search_spaces.axes import StudyError
from search_spaces.study import Study

# Read by ray when it is imported, so they are set before that.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray

MOST_WORKERS = 2000
_LOCAL_OBJECT_STORE_BYTES = 256 * 2**20


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Join the cluster at `address`, or start one on this machine that ends with the block.

    A local cluster gets a random token unless RAY_AUTH_TOKEN gives one, so that no other user of the
    machine can run code through it and nothing is written to the home directory.

    Raises:
        StudyError: it can't be joined or started, in one line.
    """
    if ray.is_initialized():
        raise StudyError("Ray is running in this process already; call ray.shutdown() first")
    local = address is None
    own_token = local and "RAY_AUTH_TOKEN" not in os.environ
    if own_token:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        _init(address)
        yield
    finally:
        ray.shutdown()
        if own_token:
            del os.environ["RAY_AUTH_TOKEN"]


def _init(address: str | None) -> None:
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {"address": "local", "include_dashboard": False, "object_store_memory": _LOCAL_OBJECT_STORE_BYTES}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        what = "can't start Ray on this machine" if address is None else f"--address {address}: can't join the cluster"
        raise StudyError(f"{what}: {reason}") from None


def num_workers(study: Study, *, num_packs: int) -> int:
    """How many workers the cluster holds at once, at most one per pack.

    Raises:
        StudyError: not even one.
    """
    held, resources = ray.cluster_resources(), study.resources
    wanted = {"CPU": resources.cpus_per_pack, "GPU": resources.gpus_per_pack}
    fits = {name: int(held.get(name, 0) / amount + 1e-9) for name, amount in wanted.items() if amount > 0}
    for name, count in fits.items():
        if count < 1:
            place = f"resources.{name.lower()}s_per_pack"
            rule = f"expected at most the {held.get(name, 0):g} that the cluster has"
            raise StudyError(f"{study.source}: {place}: {rule}, got {wanted[name]:g}")
    return min(num_packs, MOST_WORKERS, *fits.values())
