import pandas as pd
from simulated import study

from analysis.report import write_table
from analysis.table.tidy import from_file, from_frame

ROLES = {"axes": "batch_size:log2,temperature:log", "outcome": "linear_top1", "group": "family", "replicate": "seed"}


def test_shuffled_rows_give_the_same_bytes_and_no_family_is_lost(tmp_path):
    frame = study(num_families=2, seeds=3).trials.query("batch_size < 256").assign(broken=False)
    frame.loc[frame["family"] == "family_0", "broken"] = True
    files = []
    for name, rows in (("a", frame), ("b", frame.sample(frac=1.0, random_state=1))):
        rows.to_csv(tmp_path / "runs.csv", index=False)
        table = from_file(tmp_path / "runs.csv", **ROLES, status="broken", reference="family_1")
        index = write_table(table, tmp_path / name)
        tables = sorted((index.parent / "tables").iterdir())
        files.append({path.name: path.read_bytes() for path in [index, *tables]})
    assert files[0] == files[1]
    scores = pd.read_csv(tmp_path / "a" / "tables" / "scorecard.csv")
    assert scores["family"].tolist() == ["family_1", "family_0"]
    surfaces = pd.read_parquet(tmp_path / "a" / "tables" / "surfaces.parquet")
    assert list(surfaces) == [
        "dataset", "outcome", "family", "x_axis", "x", "y_axis", "y", "others", "estimate", "standard_error", "n",
        "method",
    ]  # fmt: skip


def test_a_table_in_which_all_failed_has_a_page(tmp_path):
    frame = study(num_families=2, seeds=2).trials.assign(broken=True)
    table = from_frame(frame, **ROLES, status="broken")
    index = write_table(table, tmp_path)
    rows = pd.read_csv(tmp_path / "tables" / "robustness.csv")
    best = rows[(rows["measure"] == "best") & rows["family"].notna()]
    assert best["estimate"].isna().all()
    assert "all failed" in index.read_text("utf-8")
