"""Plan minus store = todo; Ray Tune trains it; the store holds the result."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robustness.losses.installed import find_loss
from robustness.plan import extend, plan
from robustness.store import (
    Folder,
    migrate,
    open_folder,
    prepare,
    read,
    read_plan,
    read_study,
    set_aside_damaged,
    stored_packs,
    write_plan,
)
from robustness.sweep.keep import prune
from robustness.sweep.place import Place
from robustness.sweep.rows import FAILED
from robustness.training import Checkpoints
from search_spaces.axes import StudyError
from search_spaces.families import UNTRAINED
from search_spaces.study import Study

_COLUMNS = ["trial_id", "pack_id", "status"]


@dataclass(frozen=True)
class Summary:
    """How a study stands after a sweep; trials that were stopped early did not fail."""

    folder: Folder
    planned: int
    trained: int
    failed: int
    left: int


def sweep(
    study: Study,
    folder: Path | Folder,
    *,
    address: str | None = None,
    insecure: bool = False,
    retry_failed: bool = False,
    limit: int | None = None,
    budget_hours: float | None = None,
) -> Summary:
    """Train every planned trial that is not stored yet.

    The same call again continues; a study that adds trials extends the folder.

    Args:
        study: what to train.
        folder: where the results are or shall be, a path or a URI; on a cluster, one that all nodes share.
        address: of a Ray cluster; this machine unless given.
        insecure: accept a cluster whose head has no token.
        retry_failed: run failed trials again, too; their rows are replaced, and the other rows stay as they are.
        limit: train at most so many trials, in whole packs, at least one; all that are left unless given.
        budget_hours: after so many hours, save what runs and end; seeds are then trained one after another.

    Raises:
        StudyError, StoreError: one line; what was stored stays, and nothing is lost.
        KeyboardInterrupt: interrupted; what was stored stays, and packs that were running have a checkpoint.
    """
    ends_at = None if budget_hours is None else time.monotonic() + 3600 * budget_hours
    folder, place = open_folder(folder), Place(address, insecure)
    if isinstance(folder, Path):
        # Workers have another working directory.
        folder = folder.resolve()
    planned = freeze(study, folder)
    before = _stored(folder, planned)
    todo = _todo(planned, before, stored_packs(folder), retry_failed=retry_failed, limit=limit)
    _remove_checkpoints(folder, set(before["pack_id"]) - set(todo["pack_id"]))
    if len(todo):
        # Here, so that a study with nothing left to do is done without starting Ray.
        from robustness.sweep.launch import Todo, launch

        stays = before[~before["trial_id"].isin(todo["trial_id"])]
        again = frozenset(before["pack_id"]) & frozenset(todo["pack_id"])
        launch(study, folder, Todo(todo, again, len(stays), _num_failed(stays), ends_at), place)
    over = ends_at is not None and time.monotonic() >= ends_at
    if study.design.adaptive and (limit is None or len(todo) < limit) and not over:
        from robustness.sweep import adaptive

        adaptive.launch(study, folder, place, limit=None if limit is None else limit - len(todo), ends_at=ends_at)
        planned = read_plan(folder)
    prune(study, folder)
    after = _stored(folder, planned)
    retried = int(before["trial_id"].isin(todo["trial_id"]).sum())
    trained = len(after) - len(before) + retried
    return Summary(folder, len(planned), trained, _num_failed(after), left=len(planned) - len(after))


def freeze(study: Study, folder: Folder) -> pd.DataFrame:
    """Write the plan before anything runs; where there is one, keep it or extend it.

    Files that are damaged are set aside, a line each, and those of an older version rewritten in this one.
    """
    _check_losses(study)
    if not (folder / "plan.parquet").exists():
        new = plan(study)
        prepare(folder)
        write_plan(folder, new, study.written())
        return new
    planned, written = read_plan(folder), read_study(folder)
    new = extend(folder, planned, written, study)
    prepare(folder)
    _say([*set_aside_damaged(folder), migrate(folder)])
    if len(new) > len(planned) or written != study.written():
        write_plan(folder, new, study.written())
    return new


def _todo(
    planned: pd.DataFrame, before: pd.DataFrame, done: set[str], *, retry_failed: bool, limit: int | None
) -> pd.DataFrame:
    """The trials to train, packs whole, or of a pack that is stored those that failed."""
    wanted = ~planned["pack_id"].isin(done)
    if retry_failed:
        wanted |= planned["trial_id"].isin(before.loc[before["status"].isin(FAILED), "trial_id"])
    todo = planned[wanted]
    if limit is None:
        return todo
    counts = todo["pack_id"].value_counts(sort=False).cumsum()
    return todo[todo["pack_id"].isin([*counts.index[:1], *counts.index[counts <= limit]])]


def _stored(folder: Folder, planned: pd.DataFrame) -> pd.DataFrame:
    stored = read(folder, _COLUMNS)
    return stored[stored["trial_id"].isin(planned["trial_id"])]


def _num_failed(rows: pd.DataFrame) -> int:
    return int(rows["status"].isin(FAILED).sum())


def _remove_checkpoints(folder: Folder, packs: set[str]) -> None:
    """Of packs that are stored: a sweep was killed before it could."""
    checkpoints = folder / "checkpoints"
    left = {path.name for path in checkpoints.iterdir()} if checkpoints.exists() else set()
    for pack in left & packs:
        Checkpoints(checkpoints / pack, seconds=0).remove()


def _say(lines: Iterable[str | None]) -> None:
    for line in lines:
        if line is not None:
            print(line, file=sys.stderr)


def _check_losses(study: Study) -> None:
    """Import every loss before anything is written, so that a broken package is one line."""
    for label, family in study.families.items():
        if family.loss == UNTRAINED:
            continue
        try:
            find_loss(family.loss)
        except StudyError as error:
            raise StudyError(f"{study.source}: families.{label}: {error}") from None
