"""One planned trial once more, alone, beside what is stored of it."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pandas as pd
import torch
from rich.table import Table

from analysis.labels import visible
from analysis.table.store import read_study
from robustness import store
from robustness.cli.terminal import progress, show
from robustness.data import load
from robustness.store import Folder, StoreError
from robustness.training import Fuse, train_pack
from robustness.trial import Trial, TrialResult
from search_spaces import Study

MOST_NAMED = 4
EPOCH_COLUMNS = ("epoch", "updates", "final_loss", "knn_top1", "z_effective_rank", "collapse")

_MACHINE = ("device", "threads", "torch_version", "slice_size", "fused")
_COMPARED = tuple(name for name in store.OUTCOMES if not name.endswith("spectrum"))

Row = Mapping[str, Any]


def planned_row(folder: Folder, planned: pd.DataFrame, prefix: str) -> Row:
    """The planned trial whose id begins so.

    Raises:
        StoreError: no trial's id does, or those of several do.
    """
    rows = planned[planned["trial_id"].str.startswith(prefix.lower())]
    if rows.empty:
        raise StoreError(f"{folder}: no trial with this id is planned here: {prefix}")
    if len(rows) > 1:
        names = ", ".join(trial_id[: len(prefix) + 4] for trial_id in rows["trial_id"][:MOST_NAMED])
        more = f" and {len(rows) - MOST_NAMED:,} more" if len(rows) > MOST_NAMED else ""
        raise StoreError(f"{folder}: expected the id of one trial, got '{prefix}', which begins {names}{more}")
    return _first(rows)


def again(folder: Folder, prefix: str) -> TrialResult:
    """Train a planned trial alone and print all about it; stores nothing.

    Args:
        folder: what a sweep left behind or is about to fill.
        prefix: the first digits of the trial's id.

    Raises:
        StoreError: no such study or trial.
        StudyError: its loss is of a package that is not installed here.
        DataError: the images can't be read.
    """
    planned = store.read_plan(folder)
    row = planned_row(folder, planned, prefix)
    try:
        trial = Trial.from_json(row["trial"])
    except ValueError as error:
        raise StoreError(f"{folder}: {error}") from None
    study, stored = read_study(folder, planned), _stored(folder, trial.trial_id)
    _describe(row, trial, stored)
    result = _train(trial, stored, study)
    if result.error is not None:
        print(visible(f"{result.status}: {result.error}"))
    if stored is not None:
        _compare(stored, result, outcome=study.analysis.outcome)
    return result


def _stored(folder: Folder, trial_id: str) -> Row | None:
    rows = store.read(folder, ["trial_id", "status", "error", *_MACHINE, *_COMPARED])
    rows = rows[rows["trial_id"] == trial_id]
    return None if rows.empty else _first(rows)


def _first(rows: pd.DataFrame) -> Row:
    """The first row, missing values as None."""
    row = rows.head(1).astype(object)
    return {str(name): value for name, value in row.where(row.notna(), None).iloc[0].items()}


def _describe(row: Row, trial: Trial, stored: Row | None) -> None:
    print(visible(f"trial {trial.trial_id}: {row['family']}, seed {trial.seed}, {row['dataset']}"))
    for title in ("model", "training", "hyperparameters"):
        values = getattr(trial, title)
        if values:
            print(f"  {title}: {', '.join(f'{name} {value}' for name, value in values.items())}")
    if stored is None:
        print("  not stored yet")
    elif stored["slice_size"] is None:
        print(visible(f"  stored: {stored['status']}, {stored['error']}"))
    else:
        computed = "as one computation" if stored["fused"] else "in a loop"
        where = f"{stored['device']}, {stored['threads']} threads, torch {stored['torch_version']}"
        print(f"  stored: {stored['status']}, from a slice of {stored['slice_size']} {computed} ({where})")
    print("  now: alone, a slice of 1")


def _train(trial: Trial, stored: Row | None, study: Study) -> TrialResult:
    """As a worker of the sweep would, and in the computation that the stored one was made in."""
    fuse: Fuse = study.pack.fuse
    if stored is not None and stored["fused"] is not None:
        fuse = "always" if stored["fused"] else "never"
    threads = None if stored is None else stored["threads"]
    torch.set_num_threads(int(threads or max(1, study.resources.cpus_per_pack)))
    on_gpu = study.resources.gpus_per_pack > 0 and torch.cuda.is_available()
    splits = load(trial.data, study.data, probes=trial.evaluation["probes"])
    shown: list[int] = []
    print(_epoch_line({name: name.removeprefix("final_") for name in EPOCH_COLUMNS}))
    with progress() as bar:
        task = bar.add_task("training", total=1.0)

        def show_epoch(_: Trial, epoch: Row) -> None:
            shown.append(epoch["updates"])
            bar.console.print(_epoch_line(epoch), markup=False, highlight=False, soft_wrap=True)

        (result,) = train_pack(
            [trial],
            splits=splits,
            every=1,
            device=torch.device("cuda" if on_gpu else "cpu"),
            fuse=fuse,
            on_progress=lambda share: bar.update(task, completed=share),
            prune=show_epoch,
        )
    for epoch in result.history:
        if epoch["updates"] not in shown:
            print(_epoch_line(epoch))
    return result


def _epoch_line(values: Row) -> str:
    return "  ".join(_text(values.get(name)).rjust(max(len(name), 9)) for name in EPOCH_COLUMNS)


def _compare(stored: Row, result: TrialResult, *, outcome: str) -> None:
    """Outcomes beside the stored ones, and one line that says whether they agree."""
    pairs = {name: (stored[name], _number(result.outcomes.get(name))) for name in _COMPARED}
    pairs = {name: pair for name, pair in pairs.items() if pair != (None, None)}
    table = Table("outcome")
    for title in ("stored", "now", "difference"):
        table.add_column(title, justify="right")
    for name, (before, now) in pairs.items():
        table.add_row(name, _text(before), _text(now), _difference(before, now))
    show(table)
    print(_verdict(stored, result, pairs, outcome=outcome))


def _verdict(stored: Row, result: TrialResult, pairs: Mapping[str, tuple[Any, Any]], *, outcome: str) -> str:
    if stored["status"] == "stopped":
        return "stored as stopped early, and now trained to its end"
    if stored["status"] != result.status:
        return f"does not agree: stored as {stored['status']}, now {result.status}"
    differing = [name for name, (before, now) in pairs.items() if before != now]
    if not differing:
        return f"agrees bit by bit in all {len(pairs)} outcomes" if pairs else f"agrees: {result.status}"
    now = {**result.cost, "torch_version": version("torch")}
    changed = [f"{name} {stored[name]} -> {now[name]}" for name in _MACHINE if stored[name] != now[name]]
    shown = outcome if outcome in differing else differing[0]
    size = f"differs in {len(differing)} of {len(pairs)} outcomes, {shown} by {_difference(*pairs[shown])}"
    if not changed:
        return f"{size}; on an equal machine with equal slices, where all should be equal"
    return f"{size}; computed otherwise ({', '.join(changed)}): rounding differs, and training amplifies it"


def _number(value: Any) -> Any:
    """As the store gives it back: not a number is none."""
    return None if isinstance(value, float) and value != value else value


def _difference(before: Any, now: Any) -> str:
    if before == now:
        return "0"
    if isinstance(before, float) and isinstance(now, float):
        return f"{now - before:+.3g}"
    return f"{before} -> {now}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
