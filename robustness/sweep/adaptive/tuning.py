"""Ray Tune suggests the configurations of an adaptive study one after another, and trains them."""

import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from robustness.plan import TrialData, check, evaluation_updates, known_configurations, suggested
from robustness.store import Folder, StoreError, read, read_plan, stored_packs
from robustness.sweep.cluster import on_this_node
from robustness.sweep.interrupt import interruptible
from robustness.sweep.launch import Todo, job_of, ready
from robustness.sweep.launch import launch as launch_packs
from robustness.sweep.packs import Images
from robustness.sweep.place import Place
from robustness.sweep.progress import SweepProgress
from robustness.sweep.rows import FAILED
from robustness.trial import Trial
from search_spaces.study import Study

import ray  # isort: skip
from ray import tune  # isort: skip
from robustness.sweep.adaptive.referee import Referee, stored_standings  # isort: skip
from robustness.sweep.adaptive.search import AdaptiveSearch  # isort: skip
from robustness.sweep.adaptive.watch import AdaptiveWatch  # isort: skip
from robustness.sweep.adaptive.worker import work  # isort: skip

MOST_AT_ONCE = 2000
"""Trials of one run of Tune, whose memory grows with each; a longer study takes several runs."""

MOST_DEATHS = 3
"""How often a configuration may take its worker down before its trials are left for the end of the sweep."""


def launch(
    study: Study, folder: Folder, place: Place, *, limit: int | None = None, ends_at: float | None = None
) -> None:
    """Suggest, train and store configurations until each family has as many as the design says.

    All planned trials of the study are stored before. What is left when a configuration took its workers down is run
    at the end, as the trials of any other study are.

    Args:
        place: the cluster.
        limit: train at most so many trials, at least those of one configuration; None means all that are left.
        ends_at: when running trials are saved and no others begin, on the clock of `time.monotonic`.

    Raises:
        StudyError: the cluster can't be joined or is too small, or images can't be read there.
        StoreError: results can't be stored, or the sweep can't go on.
        KeyboardInterrupt: interrupted; trials that were running have a checkpoint.
    """
    data = check(study)
    each = len(study.seeds) * len(data)
    search = AdaptiveSearch(study, folder, data, most=None if limit is None else max(limit // each, 1))
    if search.num_left == 0:
        return
    example = _example(study, search, data)
    with ready(study, folder, example, place) as (images, workers):
        _suggest_and_train(search, example, images, workers=min(workers, search.num_left), ends_at=ends_at)
    if search.stop_reason is not None:
        raise StoreError(search.stop_reason)
    planned, stored = read_plan(folder), read(folder, ["trial_id", "status"])
    rows = planned[~planned["pack_id"].isin(stored_packs(folder))]
    if len(rows):
        failed = int(stored["status"].isin(FAILED).sum())
        launch_packs(study, folder, Todo(rows, frozenset(), len(stored), failed, ends_at), place)


def _example(study: Study, search: AdaptiveSearch, data: Mapping[str, TrialData]) -> pd.DataFrame:
    """Trials such as will be suggested, each a pack, as many as there will be configurations or data sets."""
    family = next(iter(search.families.values()))
    middle = {axis.name: axis.dimension.value(0.5) for axis in family.axes}
    rows = suggested(study, data, family.family, [middle])
    rows = rows.iloc[np.resize(np.arange(len(rows)), max(len(rows), search.num_left))]
    return rows.assign(pack_id=[str(number) for number in range(len(rows))])


def _suggest_and_train(
    search: AdaptiveSearch, example: pd.DataFrame, images: Images, *, workers: int, ends_at: float | None
) -> None:
    study, each = search.study, example["trial_id"].nunique()
    trial = Trial.from_json(example["trial"].iloc[0])
    evaluations = each * len(evaluation_updates(trial, every=study.evaluation.every))
    mode = "max" if study.analysis.direction == "maximize" else "min"
    referee = on_this_node(Referee).remote(mode, most_evaluations=evaluations)
    if study.design.scheduler is not None:
        known = known_configurations(study, search.planned)
        ray.get(referee.remember.remote(list(stored_standings(study, search.folder, search.planned, known))))
    job = job_of(study, search.folder, frozenset())
    parameters = {"study": study, "data": search.data, "job": job, "images": images, "referee": referee}
    trainable = tune.with_resources(tune.with_parameters(work, **parameters), {"cpu": job.cpus, "gpu": job.gpus})
    stored = read(search.folder, ["status"])["status"]
    configurations = {str(number): each for number in range(search.num_left)}
    progress = SweepProgress(
        dict.fromkeys(configurations, 1.0), configurations, done=len(stored), failed=int(stored.isin(FAILED).sum())
    )
    with progress, interruptible() as interrupt:
        watch = AdaptiveWatch(search, referee, progress, interrupt, ends_at=ends_at)
        while search.num_left and search.stop_reason is None:
            _tune(trainable, search, watch, workers=workers)
    if interrupt.wanted:
        raise KeyboardInterrupt


def _tune(trainable: Any, search: AdaptiveSearch, watch: AdaptiveWatch, *, workers: int) -> None:
    # Tune's own files, which nothing reads: workers that report no checkpoints need not see them.
    with tempfile.TemporaryDirectory(prefix="tune-") as scratch:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=search,
                num_samples=min(search.num_left, MOST_AT_ONCE),
                max_concurrent_trials=workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                callbacks=[watch],
                failure_config=tune.FailureConfig(max_failures=MOST_DEATHS),
            ),
        ).fit()
