"""Plan minus store = todo; Ray Tune trains it; the store holds the result."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robustness.losses.installed import find_loss
from robustness.plan import extend, plan
from robustness.store import prepare, read, read_plan, read_study, stored_packs, write_plan
from robustness.sweep.keep import prune
from search_spaces.axes import StudyError
from search_spaces.families import UNTRAINED
from search_spaces.study import Study


@dataclass(frozen=True)
class Summary:
    """How a study stands after a sweep."""

    folder: Path
    planned: int
    trained: int
    failed: int
    left: int


def sweep(study: Study, folder: Path, *, address: str | None = None) -> Summary:
    """Train every planned trial that is not stored yet.

    The same call again continues; a study that adds trials extends the folder.

    Args:
        study: what to train.
        folder: where the results are or shall be; on a cluster, a path that all nodes share.
        address: of a Ray cluster; this machine unless given.

    Raises:
        StudyError, StoreError: one line; nothing was started or lost.
        KeyboardInterrupt: interrupted; what was stored stays.
    """
    folder = folder.resolve()
    planned = freeze(study, folder)
    todo = planned[~planned["pack_id"].isin(stored_packs(folder))]
    if len(todo):
        # Here, so that a study with nothing left to do is done without starting Ray.
        from robustness.sweep.launch import launch

        launch(study, folder, todo, read(folder), address=address)
    prune(study, folder)
    stored = read(folder)
    mine = stored[stored["trial_id"].isin(planned["trial_id"])]
    failed = int((mine["status"] != "ok").sum())
    left = len(planned) - len(mine)
    return Summary(folder, len(planned), trained=len(todo) - left, failed=failed, left=left)


def freeze(study: Study, folder: Path) -> pd.DataFrame:
    """Write the plan before anything runs; where there is one, keep it or extend it."""
    new = plan(study)
    _check_losses(study)
    if (folder / "plan.parquet").exists():
        planned = read_plan(folder)
        new = extend(folder, planned, read_study(folder), study)
        prepare(folder)
        if len(new) == len(planned) and read_study(folder) == study.written():
            return planned
    else:
        prepare(folder)
    write_plan(folder, new, study.written())
    return new


def _check_losses(study: Study) -> None:
    """Import every loss before anything is written, so that a broken package is one line."""
    for label, family in study.families.items():
        if family.loss == UNTRAINED:
            continue
        try:
            find_loss(family.loss)
        except StudyError as error:
            raise StudyError(f"{study.source}: families.{label}: {error}") from None
