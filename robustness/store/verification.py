"""Whether a results folder is sound: every file against plan, schema and checksum."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from robustness.store.files import Folder, StoreError, file_names, make_folder, read_bytes, remove, write_bytes
from robustness.store.generations import content_digest
from robustness.store.listing import StoredFile, each, packs_of, with_files
from robustness.store.schema import HISTORY_SCHEMA, TRIALS_SCHEMA
from robustness.store.study import plan_path, read_plan
from robustness.store.tables import DamagedError, decode
from robustness.trial import digest

SCHEMAS = {"trials": TRIALS_SCHEMA, "history": HISTORY_SCHEMA}


@dataclass(frozen=True)
class Findings:
    """How sound a results folder is.

    Args:
        missing: planned trials that are not stored yet.
        problems: a line each; none in a sound folder.
    """

    missing: int
    problems: list[str]


@dataclass(frozen=True)
class _Checked:
    """A file that could be read: its rows' trials and packs, in their order."""

    file: StoredFile
    trials: list[str]
    packs: list[str]


def verify(folder: Folder) -> Findings:
    """Compare every file with the plan, the schema and its checksums; changes nothing.

    Named are files that are damaged, of another version or foreign, trials that are not planned, stored twice, or in
    another pack than planned, packs that lack planned trials, planned trials whose id is not that of what was planned,
    and history without trials or trials without history.

    Raises:
        StoreError: there is no study in this folder, or its plan is damaged.
    """
    plan = read_plan(folder)
    planned = dict(zip(plan["trial_id"], plan["pack_id"], strict=True))
    ids = zip(plan["trial_id"], plan["trial"], strict=True)
    wrong = [trial for trial, text in ids if digest(text or "") != trial]
    problems = [f"{plan_path(folder)}: trial {trial}: its id is not that of what is planned" for trial in wrong]
    # In this order: a pack's history is written before its trials.
    history, problems_of_history = _check_files(folder / "history", HISTORY_SCHEMA)
    trials, problems_of_trials = _check_files(folder / "trials", TRIALS_SCHEMA)
    problems += problems_of_trials + problems_of_history
    for checked in [*trials, *history]:
        problems += _against_plan(checked, planned)
    problems += _whole(trials, planned)
    problems += _twice(trials)
    problems += _history_and_trials(history, trials)
    stored = {trial for checked in trials for trial in checked.trials}
    return Findings(missing=len(planned.keys() - stored), problems=problems)


def set_aside_damaged(folder: Folder) -> list[str]:
    """Move files of trials/ and history/ that can't be read to DIR/damaged/, so that their packs are run again.

    The trials of a pack whose history is damaged go with it.

    Returns:
        One line for each file that was moved.
    """
    lines = []
    for name, schema in SCHEMAS.items():
        for file, error in with_files(folder / name, partial(_damaged, schema)):
            lines.append(f"{error}; moved to {_set_aside(folder, file.path)}")
            trials = folder / "trials" / file.path.name
            if name == "history" and trials.name in file_names(folder / "trials"):
                lines.append(f"{trials}: its history is damaged; moved to {_set_aside(folder, trials)}")
    return lines


def _damaged(schema: pa.Schema, files: list[StoredFile]) -> list[tuple[StoredFile, DamagedError]]:
    found = zip(files, each(files, lambda file: _check(file, schema)), strict=True)
    return [(file, error) for file, error in found if isinstance(error, DamagedError)]


def _set_aside(folder: Folder, path: Folder) -> Folder:
    aside = folder / "damaged" / path.parent.name / path.name
    make_folder(aside.parent)
    write_bytes(aside, read_bytes(path), replace=True)
    remove(path)
    return aside


def _check(file: StoredFile, schema: pa.Schema) -> _Checked | StoreError:
    content = read_bytes(file.path)
    try:
        table = decode(content, file.path, schema)
    except StoreError as error:
        return error
    if file.generation and content_digest(content) not in file.path.name:
        return DamagedError(f"{file.path}: damaged: its content is not the one that its name tells")
    return _Checked(file, table["trial_id"].to_pylist(), table["pack_id"].to_pylist())


def _check_files(folder: Folder, schema: pa.Schema) -> tuple[list[_Checked], list[str]]:
    found = with_files(folder, lambda files: each(files, lambda file: _check(file, schema)))
    foreign = sorted(name for name in file_names(folder) if not name.endswith(".parquet"))
    problems = [f"{folder / name}: not a file of this study" for name in foreign]
    problems += [str(error) for error in found if isinstance(error, StoreError)]
    return [checked for checked in found if isinstance(checked, _Checked)], problems


def _against_plan(checked: _Checked, planned: Mapping[str, str]) -> Iterator[str]:
    file, rows = checked.file, list(zip(checked.trials, checked.packs, strict=True))
    unplanned = sorted({trial for trial, _ in rows if trial not in planned})
    if unplanned:
        yield f"{file.path}: {_some(unplanned, 'trial')} not in the plan"
    elsewhere = sorted({trial for trial, pack in rows if trial in planned and pack != planned[trial]})
    if elsewhere:
        yield f"{file.path}: {_some(elsewhere, 'trial')} planned in another pack"
    held = {*file.packs}
    foreign = sorted({pack for _, pack in rows if pack not in held})
    if foreign:
        yield f"{file.path}: holds rows of {_some(foreign, 'pack')} not told by its name or footer"


def _whole(trials: list[_Checked], planned: Mapping[str, str]) -> Iterator[str]:
    """A pack is stored whole or not at all."""
    found = {trial for checked in trials for trial in checked.trials}
    holder = {pack: checked.file for checked in trials for pack in checked.file.packs}
    lacking = Counter(pack for trial, pack in planned.items() if pack in holder and trial not in found)
    for pack, count in sorted(lacking.items()):
        yield f"{holder[pack].path}: {count} planned trials of pack {pack} are missing"


def _twice(trials: list[_Checked]) -> Iterator[str]:
    """Rows that are there twice, but for those that a compaction took and has not deleted yet."""
    for checked in trials:
        doubled = sorted(trial for trial, count in Counter(checked.trials).items() if count > 1)
        if doubled:
            yield f"{checked.file.path}: {_some(doubled, 'trial')} stored twice"
    holder: dict[str, StoredFile] = {}
    for file, names in ((checked.file, {*checked.trials}) for checked in trials if not checked.file.generation):
        others = Counter(holder[trial].path.name for trial in names if trial in holder)
        for name, count in sorted(others.items()):
            yield f"{file.path}: {count} of its trials are stored in {name} too"
        holder |= dict.fromkeys(names, file)


def _history_and_trials(history: list[_Checked], trials: list[_Checked]) -> Iterator[str]:
    told = packs_of(checked.file for checked in history)
    done = packs_of(checked.file for checked in trials)
    for checked in history:
        alone = sorted({*checked.file.packs} - done)
        if alone:
            yield f"{checked.file.path}: history of {_some(alone, 'pack')} without trials"
    for checked in trials:
        alone = sorted({*checked.file.packs} - told)
        if alone:
            yield f"{checked.file.path}: trials of {_some(alone, 'pack')} without history"


def _some(ids: list[str], what: str) -> str:
    """One id, and how many more."""
    more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return f"{what} {ids[0]}{more}"
