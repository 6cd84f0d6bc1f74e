"""Joining or starting Ray, quietly and with a token."""

import logging
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search_spaces.axes import StudyError
from search_spaces.study import Study

# Read by ray when it is imported, so they are set before that.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# A worker's death is a line of ours, without a traceback.
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
# Tune's snapshots of itself, which nothing reads: at the start and at the end only.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", str(10**9))
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import torch
from ray._private.state import state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from robustness.sweep.access import admitted, use_local_token
from robustness.sweep.place import Place

MOST_WORKERS = 2000
_OBJECT_STORE_ROOM = 256 * 2**20
"""Bytes in the object store of a local cluster for all but images."""


@contextmanager
def connected(place: Place, *, image_bytes: int = 0) -> Iterator[None]:
    """Join a cluster, or start one on this machine that ends with the block.

    A local cluster gets a random token unless RAY_AUTH_TOKEN gives one, so that no other user of the
    machine can run code through it and nothing is written to the home directory.

    Args:
        place: the cluster.
        image_bytes: how much of images a local cluster has to hold in memory.

    Raises:
        StudyError: it can't be joined or started, lets anybody in, or this machine has too little memory, in one line.
    """
    if ray.is_initialized():
        raise StudyError("Ray is running in this process already; call ray.shutdown() first")
    if place.address is None:
        use_local_token()
        address = None
    else:
        address = admitted(place.address, insecure=place.insecure)
    try:
        _init(address, image_bytes)
        yield
    finally:
        ray.shutdown()


def _init(address: str | None, image_bytes: int) -> None:
    options: dict[str, Any] = {"address": address}
    if address is None:
        _check_memory(image_bytes)
        store = _OBJECT_STORE_ROOM + image_bytes + image_bytes // 20
        options = {"address": "local", "include_dashboard": False, "object_store_memory": store}
        if torch.backends.mps.is_available():
            # Ray counts no GPU of Apple's by itself.
            options["num_gpus"] = 1
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:
        # Ray raises all kinds, a plain Exception where a busy machine was too slow.
        reason = " ".join(str(error).split())[:300]
        what = "can't start Ray on this machine" if address is None else f"--address {address}: can't join the cluster"
        raise StudyError(f"{what}: {reason}") from None


def _check_memory(image_bytes: int) -> None:
    """Images are in memory twice while the object store takes them from the task that read them.

    A small store that shared memory has no room for is kept in files by Ray, which is slower; images are not worth it.
    """
    need, memory, shared = 2 * image_bytes, _memory_bytes(), _shared_memory_bytes()
    if need > memory:
        rule = f"the images need {_gib(need)} of memory while they are read, this machine has {_gib(memory)}"
        raise StudyError(f"data: {rule}; use smaller images or a cluster with more (--address)")
    if image_bytes > shared:
        rule = f"the images need {_gib(image_bytes)} of shared memory, /dev/shm has {_gib(shared)} left"
        raise StudyError(f"data: {rule}; enlarge it (docker run --shm-size), or use a cluster (--address)")


def _memory_bytes() -> int:
    """What this machine has, or the container that this process is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text("ascii").strip() if limit.is_file() else "max"
    return min(total, int(text)) if text.isdecimal() else total


def _shared_memory_bytes() -> float:
    """What is left of shared memory; unlimited where the object store is not in it."""
    return shutil.disk_usage("/dev/shm").free if sys.platform == "linux" else math.inf


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"


def num_workers(study: Study, place: Place) -> int:
    """How many workers the machines of the cluster hold now; at least one where machines may come.

    Raises:
        StudyError: not even one, and nothing comes.
    """
    wanted = {"CPU": study.resources.cpus_per_pack, "GPU": study.resources.gpus_per_pack}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    count = sum(_fits(held, wanted) for held in nodes)
    if count == 0 and not place.grows:
        name = next(name for name, amount in wanted.items() if amount > nodes[0].get(name, 0.0))
        rule = f"expected at most the {nodes[0].get(name, 0.0):g} that this machine has"
        raise StudyError(f"{study.source}: resources.{name.lower()}s_per_pack: {rule}, got {wanted[name]:g}")
    return max(count, 1)


def _fits(held: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    """How many workers a machine holds, each on it as a whole; a share of a GPU is a share of one."""
    counts = []
    for name, amount in wanted.items():
        has = held.get(name, 0.0)
        if name == "GPU" and 0 < amount < 1:
            counts.append(int(has) * int(1 / amount + 1e-9))
        elif amount > 0:
            counts.append(int(has / amount + 1e-9))
    return min(counts)


def on_this_node(actor: type) -> Any:
    """An actor that takes no CPU and lives where this process does, so that no other machine's end is its end."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(actor)


def living_nodes() -> set[str]:
    """The ids of the nodes of the cluster that are alive and stay."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]} - leaving_nodes()


def leaving_nodes() -> set[str]:
    """The ids of the nodes that were told to go: preempted ones, and those that the autoscaler gives back."""
    return set(state.get_draining_nodes())


def node_names() -> dict[str, tuple[str, str]]:
    """Of each living node: its address, and what kind it is, by its accelerator."""
    prefix = "accelerator_type:"
    return {
        node["NodeID"]: (
            str(node["NodeManagerAddress"]),
            ", ".join(sorted(name.removeprefix(prefix) for name in node["Resources"] if name.startswith(prefix))),
        )
        for node in ray.nodes()
        if node["Alive"]
    }
