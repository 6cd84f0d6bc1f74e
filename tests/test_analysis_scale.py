import importlib
import sys
from pathlib import Path

import pandas as pd

from analysis.robustness import measures
from analysis.table.tidy import from_frame

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
analysis_scale = importlib.import_module("analysis_scale")


def test_synthetic_tables_are_complete_grids_that_the_analysis_reads():
    frame = analysis_scale.synthetic(10_000, seed=0)
    assert len(frame) == 10_000
    assert frame.groupby(list(analysis_scale.AXES)).size().eq(5).all()
    pd.testing.assert_frame_equal(frame, analysis_scale.synthetic(10_000, seed=0))
    million = analysis_scale.synthetic(100_000, seed=0)
    assert million.groupby("loss").size().tolist() == [50_000, 50_000]
    small = frame[(frame["weight"] == frame["weight"].min()) & (frame["depth"] == 0)]
    table = from_frame(
        small, group="loss", axes="batch_size:log2,temperature:log", outcome="accuracy", replicate="seed"
    )
    assert table.design == "grid"
    found = measures(table, seed=0).set_index("measure")["estimate"]
    assert 0.8 < found["best"].iloc[0] < 0.9


def test_a_missed_target_and_a_part_that_broke_are_told():
    lines = [
        {"rows": 1_000_000, "part": "report", "seconds": 121.0, "bytes": 1e9},
        {"rows": 100_000, "part": "sensitivity", "seconds": 2.0, "bytes": 1e9},
        {"rows": 100_000, "part": "peer", "seconds": 9.0, "bytes": 1e9},
        {"rows": 10_000, "part": "surfaces", "error": "ValueError: no"},
    ]
    told = analysis_scale._missed(lines)
    assert told == [
        "surfaces of 10,000 rows: ValueError: no",
        "1,000,000 rows in 121 s and 1.0 GB",
        "only 4.5 times as fast as the peer at 100,000 rows",
    ]
