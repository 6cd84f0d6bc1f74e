"""One turn of one contender: a part of the quickstart, swept from start to end."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tune_baseline import sweep_with_tune

from robustness.plan import plan
from robustness.store import read
from robustness.sweep import sweep
from search_spaces import Study


@dataclass(frozen=True)
class Turn:
    """What came of a turn.

    trials: a row each, with trial_id, linear_top1, started and finished (seconds since 1970), busy_seconds; ours has
        step_seconds and slice_size as well.
    wall_seconds: of the whole call, Ray's start and end within.
    """

    contender: str
    batch_size: int
    trials: pd.DataFrame
    wall_seconds: float

    @property
    def elapsed_seconds(self) -> float:
        """From the start of the first trial to the end of the last."""
        return float(self.trials["finished"].max() - self.trials["started"].min())

    @property
    def per_hour(self) -> float:
        """Trials per hour, without Ray's start and end."""
        return 3600 * len(self.trials) / self.elapsed_seconds

    @property
    def busy_seconds(self) -> float:
        """Mean seconds that a trial kept a CPU busy."""
        return float(self.trials["busy_seconds"].mean())

    @property
    def start_up_seconds(self) -> float:
        """Ray's start and end, and the import of torch in its workers."""
        return self.wall_seconds - self.elapsed_seconds


def run(contender: str, study: Study, batch_size: int) -> Turn:
    """Sweep a study with `tune`, or with our own code, whose packs the study sizes.

    Raises:
        RuntimeError: a trial failed, in one line.
    """
    started = time.perf_counter()
    trials = _tune(study) if contender == "tune" else _ours(study)
    return Turn(contender, batch_size, trials, time.perf_counter() - started)


def stored_trials(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a store as the trials of a turn.

    The members of a pack share its span: it ends when they were finished, and lasts as long as they cost together.
    """
    busy = rows["train_seconds"] + rows["evaluate_seconds"]
    finished = rows["finished_at"].map(pd.Timestamp.timestamp)
    return pd.DataFrame(
        {
            "trial_id": rows["trial_id"],
            "linear_top1": rows["linear_top1"],
            "started": finished - busy.groupby(rows["pack_id"]).transform("sum"),
            "finished": finished,
            "busy_seconds": busy,
            "step_seconds": rows["train_seconds"] * rows["slice_size"] / rows["updates"],
            "slice_size": rows["slice_size"],
        }
    )


def _ours(study: Study) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        sweep(study, Path(folder))
        rows = read(Path(folder))
    failed = rows[rows["status"] != "ok"]
    if len(failed):
        first = failed.iloc[0]
        raise RuntimeError(f"a trial of {first['family']} failed: {first['status']}: {first['error']}")
    return stored_trials(rows)


def _tune(study: Study) -> pd.DataFrame:
    trials = sweep_with_tune(list(plan(study)["trial"]))
    return trials.assign(busy_seconds=trials["finished"] - trials["started"])
