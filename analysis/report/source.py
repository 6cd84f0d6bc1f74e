"""Where the trials of a page come from: studies of a sweep, or a table of anybody's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.report.facts import Grid, facts, status_counts, table_facts
from analysis.table import Table
from analysis.table.names import legible
from analysis.table.store import Stored, datasets_of
from search_spaces.datasets import Dataset


@dataclass(frozen=True)
class Run:
    """A study, or a table: pairs of a term and what was the case, and its trials by status."""

    name: str
    facts: Sequence[tuple[str, str]]
    status: Grid


@dataclass(frozen=True)
class Source:
    """Where the trials come from, as the page tells it; `is_study` where losses were trained by a sweep of ours.

    Args:
        relations: of several studies, which are pooled and why others are not, in sentences.
    """

    runs: Sequence[Run]
    relations: Sequence[str]
    test_images: Sequence[tuple[str, str, str]]
    incomplete: bool
    is_study: bool


def source_of(studies: Sequence[Stored], relations: Sequence[str]) -> Source:
    """What the page tells of stored studies; `relations` as `analysis.table.pooling` puts them."""
    datasets: dict[str, Dataset] = {}
    for each in studies:
        datasets = datasets_of(each.planned) | datasets
    return Source(
        runs=[_run(each) for each in studies],
        relations=relations,
        test_images=[_test_images(name, dataset.num_test) for name, dataset in datasets.items()],
        incomplete=any(len(each.rows) < len(each.planned) for each in studies),
        is_study=True,
    )


def source_of_table(table: Table) -> Source:
    """What the page tells of a table that no study of ours made."""
    run = Run(table.name, table_facts(table), status_counts(table.trials))
    return Source([run], [], [], incomplete=False, is_study=False)


def names_of(groups: Sequence[Sequence[Stored]]) -> list[str]:
    """What each group is called: by its studies; by their folders where these do not tell groups apart."""
    names = [" + ".join(dict.fromkeys(member.study.name for member in members)) for members in groups]
    if len(set(names)) == len(names):
        return names
    return [" + ".join(f"{member.study.name} ({member.folder})" for member in members) for members in groups]


def _run(stored: Stored) -> Run:
    known = facts(stored.study, stored.rows, num_planned=len(stored.planned))
    return Run(stored.study.name, known, status_counts(stored.rows, stored.planned))


def _test_images(dataset: str, count: int) -> tuple[str, str, str]:
    """A data set, the size of its test split, and what that alone does to an accuracy of .95, in points."""
    return legible(dataset), f"{count:,}", f"{100 * math.sqrt(0.95 * 0.05 / count):.1f}"
