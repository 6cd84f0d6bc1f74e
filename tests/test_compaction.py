import itertools
import shutil
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow.parquet as pq
import pytest
from fake_store import planned_rows, small_study, trial_and_history, write_store

from robustness import store
from robustness.store import StoreError, files, generations

STUDY = small_study(seeds=2)
ROWS = planned_rows(STUDY)
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    pass


class Watch:
    """Does something before the nth operation on a file below a folder, of whatever thread."""

    def __init__(self):
        self.folder, self.changes_only = None, False
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if self.folder is None or event not in ("open", "os.link", "os.remove", "os.rename", "os.scandir"):
            return
        if self.changes_only and (event == "os.scandir" or (event == "open" and arguments[1] in ("r", "rb", None))):
            return
        if str(arguments[0]).startswith(self.folder):
            self.count += 1
            if self.count == self.nth:
                self.act()
            if self.killed:
                raise Killed

    @contextmanager
    def before(self, nth, folder, act):
        def once():
            self.folder = None
            act()
            self.folder = str(folder)

        # To be killed before a read is to be killed after the last change.
        self.changes_only = act == self.kill
        self.folder, self.nth, self.act, self.count, self.killed = str(folder), nth, once, 0, False
        try:
            yield self
        finally:
            self.folder = None

    def kill(self):
        self.killed = True


WATCH = Watch()


@pytest.fixture(autouse=True)
def others_wait_for_the_lock(monkeypatch):
    """What comes in between comes before the lock is taken or after it is given back, as it does elsewhere."""

    @contextmanager
    def alone_in(folder):
        with lock(folder):
            watched = WATCH.folder
            WATCH.folder = watched if WATCH.changes_only else None
            try:
                yield
            finally:
                WATCH.folder = watched

    lock = files._alone_in
    monkeypatch.setattr(files, "_alone_in", alone_in)


def at_every_operation(template, folder, run, act, *, step=1):
    """Runs `run` on a copy of `template` again and again, with `act` before its first, second, ... operation."""
    for nth in itertools.count(1, step):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)
        with WATCH.before(nth, folder, act) as watch:
            try:
                outcome = run(folder)
            except Killed:
                outcome = None
            reached = watch.count >= nth
        if not reached:
            assert nth > 3
            return
        yield outcome


def packs():
    """Those of trained encoders first."""
    return sorted({row["pack_id"] for row in ROWS}, key=lambda pack: (not failing(pack), pack))


def results(pack, *, failed=(), minutes=0):
    """The rows and the history of a pack of which some members failed."""
    rows, history = [], []
    for planned in (row for row in ROWS if row["pack_id"] == pack):
        row, epochs = trial_and_history(planned, failed=planned["trial_id"] in failed)
        rows.append(row | {"finished_at": BEGUN + timedelta(minutes=minutes)})
        history += epochs
    return rows, history


def failing(pack):
    return sorted(row["trial_id"] for row in ROWS if row["pack_id"] == pack and row["loss"] != "untrained")[:2]


def write_failing(folder, count):
    """A store of the first `count` packs, in each of which two members failed."""
    write_store(folder, STUDY, keep=lambda row: False)
    for pack in packs()[:count]:
        assert store.write_pack(folder, pack, *results(pack, failed=failing(pack))) is None
    return folder


def retry(folder, pack):
    """Store the failed members of a pack as they come out now: ok."""
    rows, history = results(pack, minutes=60)
    again = failing(pack)
    store.replace_in_pack(
        folder,
        pack,
        [row for row in rows if row["trial_id"] in again],
        [row for row in history if row["trial_id"] in again],
    )


def plain(folder):
    """What anybody reads, without this package."""
    return pd.read_parquet(folder / "trials").sort_values("trial_id", ignore_index=True)


def is_sound(folder, expected, count):
    """The store holds exactly these trials, and their history, whoever asks."""
    frame, history = expected
    pd.testing.assert_frame_equal(store.read(folder), frame)
    pd.testing.assert_frame_equal(store.read_history(folder), history)
    assert store.stored_packs(folder) == {*packs()[:count]}
    found = store.verify(folder)
    assert found.problems == []
    assert found.missing == len(ROWS) - len(frame)


def state(folder):
    return store.read(folder), store.read_history(folder)


def is_tidy(folder):
    """After one more compaction, a plain reader sees what the store sees."""
    store.compact(folder)
    pd.testing.assert_frame_equal(plain(folder), store.read(folder).sort_values("trial_id", ignore_index=True))
    for name in ("trials", "history"):
        assert all(path.name.startswith("g") for path in (folder / name).glob("*.parquet"))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A store of which the first packs are compacted, then one more was stored; and what is in it."""
    folder = write_failing(tmp_path_factory.mktemp("template"), 2)
    store.compact(folder)
    store.write_pack(folder, packs()[2], *results(packs()[2], failed=failing(packs()[2])))
    return folder, state(folder)


def test_a_compacted_store_holds_the_same_rows_in_few_files(tmp_path):
    folder = write_failing(tmp_path, 6)
    expected = state(folder)
    before = plain(folder)
    assert "trials: 6 -> 1 files, history: 6 -> 1 files" in store.compact(folder)
    is_sound(folder, expected, 6)
    pd.testing.assert_frame_equal(plain(folder), before)
    (path,) = (folder / "trials").glob("*")
    footer = pq.read_metadata(path).metadata
    for pack in packs()[:6]:
        assert pack.encode() in footer[b"robustness.packs"]
        assert f"{pack}.parquet".encode() in footer[b"robustness.replaces"]
    content = path.read_bytes()
    assert "trials: 1 -> 1 files" in store.compact(folder)
    assert path.read_bytes() == content


def test_packs_that_are_named_are_read_and_no_others_wherever_they_lie(tmp_path):
    rows = sorted(ROWS, key=lambda row: row["pack_id"])
    write_store(tmp_path, STUDY, keep=lambda row: row["pack_id"] <= rows[len(rows) // 2]["pack_id"])
    store.compact(tmp_path)
    write_store(tmp_path, STUDY)
    for packs in ({rows[0]["pack_id"], rows[-1]["pack_id"]}, set()):
        for read in (store.read, store.read_history):
            whole = read(tmp_path)
            expected = whole[whole["pack_id"].isin(packs)].reset_index(drop=True)
            # A column without missing values has another type.
            pd.testing.assert_frame_equal(read(tmp_path, packs=packs), expected, check_dtype=False)
    assert set(store.read(tmp_path, ["trial_id"], packs={rows[0]["pack_id"]})) == {"trial_id"}


def test_files_have_at_most_so_many_rows_and_full_ones_are_not_written_again(tmp_path, monkeypatch):
    folder = write_failing(tmp_path, 6)
    expected = state(folder)
    size = len(results(packs()[0])[0])
    monkeypatch.setattr(generations, "MAX_ROWS", 2 * size)
    monkeypatch.setattr(store.compaction, "MAX_ROWS", 2 * size)
    store.compact(folder)
    names = {path.name for path in (folder / "trials").iterdir()}
    assert max(pq.read_metadata(path).num_rows for path in (folder / "trials").iterdir()) <= 2 * size
    is_sound(folder, expected, 6)
    store.compact(folder)
    assert {path.name for path in (folder / "trials").iterdir()} == names


def test_a_compaction_that_is_killed_anywhere_leaves_every_trial_once(template, tmp_path):
    folder, expected = template
    copy = tmp_path / "copy"
    for _ in at_every_operation(folder, copy, store.compact, WATCH.kill):
        is_sound(copy, expected, 3)
        is_tidy(copy)
        is_sound(copy, expected, 3)


def test_a_reader_finds_every_trial_once_wherever_a_compaction_comes_in_between(template, tmp_path):
    folder, expected = template
    copy = tmp_path / "copy"
    for frame, history in at_every_operation(folder, copy, state, lambda: store.compact(copy), step=3):
        pd.testing.assert_frame_equal(frame, expected[0])
        pd.testing.assert_frame_equal(history, expected[1])


def test_two_compactions_at_once_leave_every_trial_once(template, tmp_path):
    folder, expected = template
    copy = tmp_path / "copy"
    for _ in at_every_operation(folder, copy, store.compact, lambda: store.compact(copy), step=3):
        is_sound(copy, expected, 3)
        is_tidy(copy)


@pytest.mark.parametrize("place", [0, 2])
def test_a_retried_trial_is_never_lost_to_a_compaction(template, tmp_path, place):
    folder, _ = template
    pack, copy, wanted = packs()[place], tmp_path / "copy", tmp_path / "wanted"
    shutil.copytree(folder, wanted)
    retry(wanted, pack)
    expected = state(wanted)
    again = expected[0][expected[0]["trial_id"].isin(failing(pack))]
    assert (again["status"] == "ok").all()
    for _ in at_every_operation(folder, copy, store.compact, lambda: retry(copy, pack), step=3):
        is_sound(copy, expected, 3)
    for _ in at_every_operation(folder, copy, lambda folder: retry(folder, pack), lambda: store.compact(copy), step=3):
        is_tidy(copy)
        is_sound(copy, expected, 3)


@pytest.mark.parametrize("place", [0, 2])
def test_a_replacement_that_is_killed_anywhere_leaves_old_or_new_rows(template, tmp_path, place):
    folder, before = template
    pack, copy = packs()[place], tmp_path / "copy"
    for _ in at_every_operation(folder, copy, lambda folder: retry(folder, pack), WATCH.kill):
        rows = store.read(copy)
        assert rows["trial_id"].tolist() == before[0]["trial_id"].tolist()
        again = rows["trial_id"].isin(failing(pack))
        assert rows[again]["status"].nunique() == 1
        pd.testing.assert_frame_equal(rows[~again], before[0][~again])
        assert store.verify(copy).problems == []
        retry(copy, pack)
        after = store.read(copy)
        assert (after[again]["status"] == "ok").all()
        assert {*failing(pack)} <= {*store.read_history(copy)["trial_id"]}


@pytest.mark.parametrize("compacted", [False, True])
def test_a_replacement_leaves_other_rows_and_rows_that_are_ok_bit_by_bit(tmp_path, compacted):
    folder = write_failing(tmp_path, 3)
    if compacted:
        store.compact(folder)
    pack, others = packs()[1], failing(packs()[1])
    before = plain(folder).set_index("trial_id")
    rows, history = results(pack, minutes=60)
    store.replace_in_pack(folder, pack, [row | {"linear_top1": 0.125} for row in rows], history)
    after = plain(folder).set_index("trial_id")
    pd.testing.assert_frame_equal(after.drop(others), before.drop(others))
    assert (after.loc[others, "linear_top1"] == 0.125).all()
    assert (after.loc[others, "status"] == "ok").all()
    retried = store.read_history(folder).set_index("trial_id").loc[others]
    assert (retried["finished_at"] == BEGUN + timedelta(minutes=60)).all()
    store.replace_in_pack(folder, pack, [row | {"status": "error", "linear_top1": None} for row in rows], [])
    pd.testing.assert_frame_equal(plain(folder).set_index("trial_id"), after)


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("minutes", [-60 * 24 * 365, 0, 60 * 24 * 365])
def test_clocks_that_are_wrong_lose_nothing_and_double_nothing(template, tmp_path, place, minutes):
    copy, pack = tmp_path / "copy", packs()[place]
    shutil.copytree(template[0], copy)
    again = failing(pack)
    # The clock of the machine that retries is years behind or ahead, or tells the moment of the failed run.
    rows, history = results(pack, minutes=minutes)
    chosen = [[row for row in part if row["trial_id"] in again] for part in (rows, history)]
    for statuses in (["error", "error"], ["ok", "error"], ["ok", "ok"]):
        part = [
            row if status == "ok" else row | {"status": status, "linear_top1": None}
            for row, status in zip(chosen[0], statuses, strict=True)
        ]
        store.replace_in_pack(copy, pack, part, chosen[1])
        store.compact(copy)
        found = store.read(copy)
        assert found["trial_id"].is_unique
        assert len(found) == len(template[1][0])
        stored = found.set_index("trial_id").loc[[row["trial_id"] for row in part], "status"]
        # Of two failures the later one is kept, by whatever clock; what is ok replaces both.
        assert [status == "ok" for status in stored] == [status == "ok" for status in statuses]
        assert store.verify(copy).problems == []
    stored = store.read_history(copy)
    expected = pd.DataFrame(chosen[1]).set_index(["trial_id", "epoch"]).sort_index()
    kept = stored[stored["trial_id"].isin(again)].set_index(["trial_id", "epoch"]).sort_index()
    assert kept.index.equals(expected.index)
    assert (kept["finished_at"] == BEGUN + timedelta(minutes=minutes)).all()


@pytest.mark.parametrize("place", [0, 2])
def test_of_two_that_retry_the_same_pack_each_trial_keeps_an_ok_row(template, tmp_path, place):
    folder, _ = template
    pack, copy = packs()[place], tmp_path / "copy"
    first, second = failing(pack)

    def one(folder, trial, minutes):
        rows, history = results(pack, failed={first, second} - {trial}, minutes=minutes)
        epochs = [epoch for epoch in history if epoch["trial_id"] == trial]
        store.replace_in_pack(folder, pack, [row for row in rows if row["trial_id"] in (first, second)], epochs)

    for _ in at_every_operation(
        folder, copy, lambda folder: one(folder, first, 60), lambda: one(copy, second, 30), step=2
    ):
        rows = store.read(copy).set_index("trial_id")
        assert rows.loc[[first, second], "status"].tolist() == ["ok", "ok"]
        assert {first, second} <= {*store.read_history(copy)["trial_id"]}
        assert store.verify(copy).problems == []


def test_a_pack_that_is_not_stored_can_not_be_replaced(tmp_path):
    folder = write_failing(tmp_path, 1)
    with pytest.raises(StoreError, match="is not stored"):
        retry(folder, packs()[1])


@pytest.mark.parametrize("known", [True, False])
def test_of_two_writers_the_history_is_that_of_the_trials(tmp_path, known):
    """Wherever the second comes in between; also where a killed run left a history."""
    pack, copy = packs()[0], tmp_path / "copy"
    folder = write_failing(tmp_path / "template", 0)
    if known:
        rows, history = results(pack, minutes=-60)
        store.write_pack(folder, pack, rows, [row | {"linear_top1": 0.0} for row in history])
        (folder / "trials" / f"{pack}.parquet").unlink()

    def write(folder, mark, minutes):
        rows, history = results(pack, minutes=minutes)
        rows = [row | {"device": str(mark)} for row in rows]
        return store.write_pack(folder, pack, rows, [row | {"linear_top1": mark} for row in history])

    for message in at_every_operation(folder, copy, lambda folder: write(folder, 1.0, 0), lambda: write(copy, 2.0, 30)):
        (winner,) = store.read(copy)["device"].unique()
        assert (message is None) == (winner == "1.0")
        assert store.read_history(copy)["linear_top1"].unique() == [float(winner)]
        names = [path.name for path in (copy / "history").iterdir() if not path.name.startswith(".")]
        assert names == [f"{pack}.parquet"]
        stored = pd.read_parquet(copy / "history")
        assert stored["linear_top1"].unique() == [float(winner)]


def test_a_writer_that_comes_after_the_compaction_is_too_late(template, tmp_path):
    folder, expected = template
    pack, copy = packs()[2], tmp_path / "copy"
    shutil.copytree(folder, copy)
    store.compact(copy)
    assert "equal results" in store.write_pack(copy, pack, *results(pack, failed=failing(pack), minutes=9))
    with pytest.raises(StoreError, match="differs in 'status'; kept the first"):
        store.write_pack(copy, pack, *results(pack))
    is_sound(copy, expected, 3)


def test_a_writer_beside_a_compaction_stores_its_pack_once(tmp_path):
    """Also where another stored the pack, and a compaction took it, since the writer looked."""
    template, copy = write_failing(tmp_path / "template", 3), tmp_path / "copy"
    pack = packs()[3]
    rows = results(pack)

    def other():
        store.write_pack(copy, pack, *results(pack, minutes=5))
        store.compact(copy)

    for _ in at_every_operation(template, copy, lambda folder: store.write_pack(folder, pack, *rows), other, step=2):
        stored = store.read(copy)
        assert not stored["trial_id"].duplicated().any()
        assert set(stored["pack_id"]) == {*packs()[:4]}
        assert len(plain(copy)) == len(stored)
        assert store.verify(copy).problems == []
        assert set(store.read_history(copy)["pack_id"]) == {*packs()[:4]}


def test_rows_of_another_pack_are_not_mixed_in(tmp_path):
    folder = write_failing(tmp_path, 2)
    first, second = (folder / "trials" / f"{pack}.parquet" for pack in packs()[:2])
    content = second.read_bytes()
    second.write_bytes(first.read_bytes())
    with pytest.raises(StoreError, match="holds rows of another pack"):
        store.compact(folder)
    second.write_bytes(content)
    store.compact(folder)


def test_history_of_a_pack_that_is_not_stored_yet_is_left_alone(tmp_path):
    folder = write_failing(tmp_path, 3)
    pack = packs()[0]
    (folder / "trials" / f"{pack}.parquet").unlink()
    store.compact(folder)
    assert (folder / "history" / f"{pack}.parquet").exists()
    assert len(list((folder / "history").iterdir())) == 2
