import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_store import planned_rows, small_study, write_store
from s3_for_tests import s3_fixture, s3_server_fixture  # noqa: F401

from robustness import store
from robustness.store import HISTORY_SCHEMA, TRIALS_SCHEMA, Findings, StoreError, open_folder

STUDY = small_study(seeds=1)
ROWS = planned_rows(STUDY)
PACKS = list(dict.fromkeys(row["pack_id"] for row in ROWS))
"""Those of trained encoders first, the untrained one's last."""


@pytest.fixture
def folder(tmp_path):
    return write_store(tmp_path, STUDY)


def path_of(folder, number=0, name="trials"):
    return folder / name / f"{PACKS[number]}.parquet"


def rewrite(path, change, *, schema_version=store.SCHEMA_VERSION):
    """The file as another writer might have made it: `change` takes and gives a list of rows, or a table."""
    metadata = dict(pq.read_schema(path).metadata) | {b"robustness.schema_version": str(schema_version).encode()}
    table = change(pq.read_table(path))
    pq.write_table(table.replace_schema_metadata(metadata), path)


def with_first(**values):
    """A change of a file's first row."""

    def change(table):
        rows = table.to_pylist()
        return pa.Table.from_pylist([rows[0] | values, *rows[1:]], schema=table.schema)

    return change


def test_a_store_as_a_sweep_leaves_it_is_sound(folder):
    assert store.verify(folder) == Findings(missing=0, problems=[])
    store.compact(folder)
    assert store.verify(folder) == Findings(missing=0, problems=[])


def test_trials_that_are_not_stored_yet_are_counted_and_no_problem(tmp_path):
    folder = write_store(tmp_path, STUDY, keep=lambda row: row["pack_id"] != PACKS[0])
    count = sum(row["pack_id"] == PACKS[0] for row in ROWS)
    assert store.verify(folder) == Findings(missing=count, problems=[])


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda folder: path_of(folder).write_bytes(b""), "damaged or not Parquet"),
        (lambda folder: path_of(folder, 1, "history").write_bytes(b"PAR1"), "damaged or not Parquet"),
        (lambda folder: rewrite(path_of(folder), with_first(trial_id="ff")), "trial ff not in the plan"),
        (lambda folder: rewrite(path_of(folder), with_first(pack_id="ff")), "planned in another pack"),
        (lambda folder: path_of(folder).rename(folder / "trials" / "ff.parquet"), "not told by its name or footer"),
        (lambda folder: rewrite(path_of(folder), lambda table: table.slice(1)), "1 planned trials of pack"),
        (lambda folder: rewrite(path_of(folder), lambda table: pa.concat_tables([table, table])), "stored twice"),
        (lambda folder: path_of(folder).unlink(), "without trials"),
        (lambda folder: path_of(folder, 0, "history").unlink(), "without history"),
        (lambda folder: rewrite(path_of(folder), lambda table: table.drop(["seed"])), "its columns are not those"),
        (lambda folder: rewrite(path_of(folder), lambda table: table, schema_version=99), "newer version"),
        (lambda folder: (folder / "trials" / "notes.txt").write_text("?"), "not a file of this study"),
        (
            lambda folder: (folder / "trials" / "ff.parquet").write_bytes(path_of(folder).read_bytes()),
            "are stored in",
        ),
        (
            lambda folder: store.write_plan(folder, pd.DataFrame(ROWS).assign(trial="another"), STUDY.written()),
            "its id is not that of what is planned",
        ),
    ],
)
def test_what_is_wrong_is_named(folder, damage, rule):
    damage(folder)
    problems = store.verify(folder).problems
    assert any(rule in line for line in problems), problems
    assert all(line.startswith(str(folder)) and "\n" not in line for line in problems)


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("name", ["trials", "history"])
def test_no_flipped_bit_changes_a_number_unnoticed(tmp_path, name, compacted):
    folder = write_store(tmp_path, STUDY, keep=lambda row: compacted or row["pack_id"] == PACKS[0])
    if compacted:
        store.compact(folder)
    expected = store.read(folder), store.read_history(folder)
    path = sorted((folder / name).glob("*.parquet"))[0]
    content = path.read_bytes()
    noticed = 0
    for place in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        if store.verify(folder).problems:
            noticed += 1
        else:
            pd.testing.assert_frame_equal(store.read(folder), expected[0])
            pd.testing.assert_frame_equal(store.read_history(folder), expected[1])
    assert noticed > 15


def test_damaged_files_are_moved_and_their_packs_run_again(folder, tmp_path_factory):
    expected = store.read(folder), store.read_history(folder)
    path_of(folder, 0).write_bytes(path_of(folder, 0).read_bytes()[:-9])
    path_of(folder, 1, "history").write_bytes(b"")
    lines = store.set_aside_damaged(folder)
    assert len(lines) == 3
    assert all("moved to" in line and "\n" not in line for line in lines)
    assert store.stored_packs(folder) == {*PACKS[2:]}
    moved = {path.relative_to(folder / "damaged").as_posix() for path in (folder / "damaged").glob("*/*")}
    assert moved == {f"trials/{PACKS[0]}.parquet", f"trials/{PACKS[1]}.parquet", f"history/{PACKS[1]}.parquet"}
    assert store.set_aside_damaged(folder) == []
    again = write_store(tmp_path_factory.mktemp("again"), STUDY)
    for pack in PACKS[:2]:
        rows, history = (pq.read_table(again / name / f"{pack}.parquet").to_pylist() for name in ("trials", "history"))
        assert store.write_pack(folder, pack, rows, history) is None
    pd.testing.assert_frame_equal(store.read(folder), expected[0])
    pd.testing.assert_frame_equal(store.read_history(folder), expected[1])
    assert store.verify(folder).problems == []


def test_files_of_a_newer_version_are_refused_and_left_alone(folder):
    rewrite(path_of(folder), lambda table: table, schema_version=99)
    assert store.set_aside_damaged(folder) == []
    for act in (store.read, store.migrate, store.compact):
        with pytest.raises(StoreError, match=r"written by a newer version of robustness, schema 99: this one reads"):
            act(folder)


def older(folder):
    """The folder as version 1 left it: history does not tell when its trials finished."""
    for path in (folder / "history").glob("*.parquet"):
        rewrite(path, lambda table: table.drop(["finished_at"]), schema_version=1)
    for path in [*(folder / "trials").glob("*.parquet"), folder / "plan.parquet"]:
        rewrite(path, lambda table: table, schema_version=1)


@pytest.mark.parametrize("compacted", [False, True])
def test_columns_that_an_older_version_lacks_are_null_until_migration_and_after(folder, compacted):
    if compacted:
        store.compact(folder)
    expected = store.read(folder), store.read_history(folder)
    older(folder)
    for _ in range(2):
        pd.testing.assert_frame_equal(store.read(folder), expected[0])
        history = store.read_history(folder)
        pd.testing.assert_frame_equal(history, expected[1])
        assert history["finished_at"].isna().all()
        line = store.migrate(folder)
    assert line is None
    for name, schema in (("trials", TRIALS_SCHEMA), ("history", HISTORY_SCHEMA)):
        for path in (folder / name).glob("*.parquet"):
            found = pq.read_schema(path)
            assert found.names == schema.names
            assert found.metadata[b"robustness.schema_version"] == str(store.SCHEMA_VERSION).encode()
    assert store.verify(folder) == Findings(0, [])


def test_a_file_of_this_version_may_not_lack_a_column(folder):
    rewrite(path_of(folder), lambda table: table.drop(["linear_top1"]))
    with pytest.raises(StoreError, match="its columns are not those of this version: linear_top1"):
        store.read(folder)


def test_an_object_store_is_verified_compacted_and_migrated_like_a_disk(s3):
    folder = write_store(open_folder(s3), STUDY)
    (folder / "trials" / f"{PACKS[0]}.parquet").write_bytes(b"")
    assert len(store.set_aside_damaged(folder)) == 1
    assert store.verify(folder).missing == sum(row["pack_id"] == PACKS[0] for row in ROWS)
    rows, history = store.read(folder), store.read_history(folder)
    store.compact(folder)
    assert [path.name[:3] for path in (folder / "trials").glob("*.parquet")] == ["g1-"]
    pd.testing.assert_frame_equal(store.read(folder), rows)
    pd.testing.assert_frame_equal(store.read_history(folder), history)
    trial = next(row["trial_id"] for row in ROWS if row["pack_id"] == PACKS[1])
    store.replace_in_pack(folder, PACKS[1], [{"trial_id": trial, "pack_id": PACKS[1], "status": "error"}], [])
    pd.testing.assert_frame_equal(store.read(folder), rows)
    assert store.migrate(folder) is None
