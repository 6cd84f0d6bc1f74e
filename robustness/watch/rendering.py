"""The report of a study, rendered by `robustness report` in a process of its own: it takes seconds of a core."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from robustness.store import Folder


async def render(folder: Folder, out: Path) -> str:
    """Render the report of a study into another folder; ended with the task that waits for it.

    Returns:
        Why there is none, in one line; empty if there is.
    """
    # The same packages as here, and none that lie in the working directory by chance.
    command = [sys.executable, "-P", "-m", "robustness.cli", "report", "--out", str(out), "--", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, env=environment
        )
    except OSError as error:
        # The machine has no memory or process left for it, which may pass.
        return f"can't be rendered now: {error.strerror}"
    try:
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return ""
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else f"its process ended with exit code {process.returncode}"
