"""What a trial ran on, in words and bytes."""

import platform
import resource
import sys
from functools import lru_cache
from pathlib import Path

import torch


@lru_cache(maxsize=4)
def describe(device: torch.device) -> str:
    """The device's model: two machines of the same description compute the same bits."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device.type}: {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement; the CPU's peak is that of the process and can't be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory in use since the reset: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
