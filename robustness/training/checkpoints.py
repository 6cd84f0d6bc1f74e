"""A pack that was interrupted goes on where it was, bit by bit."""

import io
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from robustness.store import Folder, write_bytes
from robustness.store.files import read_bytes, remove
from robustness.trial import TrialResult

State = dict[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """Where a pack keeps its state, and how often.

    Args:
        folder: of this pack alone.
        seconds: between two checkpoints.
    """

    folder: Folder
    seconds: float

    @property
    def path(self) -> Folder:
        """The last checkpoint."""
        return self.folder / "checkpoint.pt"

    def load(self, device: torch.device) -> State | None:
        """The last state; None where there is none that can be read."""
        try:
            # Nothing but tensors and plain data is unpickled: a file that asks for more is ignored.
            source = self.path if isinstance(self.path, Path) else io.BytesIO(read_bytes(self.path))
            state: State = torch.load(source, map_location=device, weights_only=True)
        except Exception:
            # There is none, or it is damaged: a checkpoint only saves time.
            return None
        return state

    def save(self, state: State) -> None:
        """Replace the last checkpoint; whoever is killed meanwhile finds the old one or the new one."""
        # Training goes on where a checkpoint can't be written: results that can't be stored will say why.
        with suppress(OSError):
            if isinstance(self.folder, Path):
                self._save_local(self.folder, state)
            else:
                content = io.BytesIO()
                torch.save(state, content)
                write_bytes(self.path, content.getvalue(), replace=True)

    def _save_local(self, folder: Path, state: State) -> None:
        temporary = folder / f".checkpoint-{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / self.path.name)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self) -> None:
        """The pack is stored; its checkpoint is of no more use."""
        if isinstance(self.folder, Path):
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            with suppress(OSError):
                remove(self.path)

    def timer(self) -> Callable[[], bool]:
        """Whether the next checkpoint is due; begins anew whenever it says so."""
        last = time.monotonic()

        def due() -> bool:
            nonlocal last
            if time.monotonic() - last < self.seconds:
                return False
            last = time.monotonic()
            return True

        return due


def plain(result: TrialResult) -> State:
    """A result as plain data."""
    return asdict(result) | {"history": [dict(epoch) for epoch in result.history]}


def result_of(state: State) -> TrialResult:
    """The result of its plain data."""
    return TrialResult(**(state | {"history": tuple(state["history"])}))
