import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from fake_store import planned_rows, small_study, write_store
from processes import descendants, gone, wait_until
from watch_for_tests import ask, one_seed, serving, store_more

from analysis.labels import visible
from robustness import store
from robustness.cli import main
from robustness.status import Best, FamilyStanding
from robustness.watch.gate import HEADERS
from robustness.watch.live import Attempt, Live, View, is_due
from robustness.watch.page import clock, page, status
from robustness.watch.routes import PAGE_POLICY, report_policy
from robustness.watch.server import AddressError, listen

NOW = datetime(2026, 1, 1, 12, 3, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TOKEN = "a-token"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> \"quoted\" 'too' & \u202e"


@pytest.fixture
def live(tmp_path):
    """A study of which one seed is stored; `scratch` holds the reports."""
    (tmp_path / "scratch").mkdir()
    return Live(write_store(tmp_path / "results", small_study(), keep=one_seed), tmp_path / "scratch")


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """The same, with a report."""
    folder = tmp_path_factory.mktemp("reported")
    (folder / "scratch").mkdir()
    found = Live(write_store(folder / "results", small_study(), keep=one_seed), folder / "scratch")
    asyncio.run(found.render(now=NOW))
    return found


@pytest.fixture
def served():
    """Serves what is live; returns a function that asks for a path."""
    with ExitStack() as stack:

        def serve(live, *, any_host=False):
            port = stack.enter_context(serving(live, token=TOKEN, any_host=any_host))
            return lambda path, **options: ask(port, path, **options)

        yield serve


class Markup(HTMLParser):
    """Tags, text, ids and what is loaded."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.ids, self.addresses = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


PATHS = ("/", "/status", "/watch.js", "/watch.css", "/report/index.html", "/report/tables/robustness.csv")


def test_with_the_token_each_page_is_there_and_stays_out_of_caches_and_referrers(served, reported):
    asked = served(reported)
    for path in PATHS:
        answer, head = (asked(f"/{TOKEN}{path}", method=method) for method in ("GET", "HEAD"))
        assert (answer.code, head.code, head.body) == (200, 200, b"")
        assert answer.body
        assert head.headers["Content-Length"] == str(len(answer.body))
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "server" not in answer.headers


@pytest.mark.parametrize("wrong", ["", "a-toke", "a-tokenn", "A-TOKEN", "b-token", "%61-tokem", "..", "%C3%A9", "%FF"])
def test_without_the_token_nothing_is_told(served, reported, wrong):
    asked = served(reported)
    for path in (*PATHS, ""):
        answer = asked(f"/{wrong}{path}")
        assert (answer.code, answer.body) == (404, b"")
    assert asked("/").code == 404
    assert asked("*").code in (400, 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "MOVE"])
def test_nothing_but_reading_is_allowed(served, live, method):
    asked = served(live)
    for path in ("/", f"/{TOKEN}/", f"/{TOKEN}/status", "/wrong/"):
        answer = asked(path, method=method)
        assert (answer.code, answer.headers["Allow"], answer.body) == (405, "GET, HEAD", b"")


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "tables", "tables/", "figures/", "index.html/", "../status", "../../etc/passwd", "../secret",
        "../2/index.html", "%2e%2e/secret", "%2E%2E%2Fsecret", "..%5csecret", "tables/../../secret", "/etc/passwd",
        "tables/%00", "./index.html", "tables//robustness.csv",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_report_or_lists_a_folder(served, reported, path):
    (reported.scratch / "secret").write_text("secret")
    answer = served(reported)(f"/{TOKEN}/report/{path}")
    assert answer.code == 404
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1", 200), ("localhost:1", 200), ("LOCALHOST", 200), ("[::1]:8000", 200), ("127.0.0.2:80", 200),
        ("evil.example", 403), ("evil.example:80", 403), ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403), ("127.0.0.1@evil.example", 403), ("192.168.0.1", 403), ("0.0.0.0", 403),
        ("", 403), ("[", 403),
    ],
)  # fmt: skip
def test_a_request_names_this_machine(served, live, host, code):
    assert served(live)(f"/{TOKEN}/", host=host).code == code


def test_any_name_will_do_where_other_machines_are_let_in(served, live):
    asked = served(live, any_host=True)
    assert asked(f"/{TOKEN}/", host="cluster.example").code == 200
    assert asked("/wrong/", host="cluster.example").code == 404


def test_the_page_loads_nothing_but_its_own_files(served, reported):
    asked = served(reported)
    answer = asked(f"/{TOKEN}/")
    found = Markup(answer.body.decode())
    assert answer.headers["Content-Security-Policy"] == PAGE_POLICY
    assert set(found.addresses) == {"data:,", "watch.css", "watch.js", "report/index.html"}
    assert found.tags.count("script") == 1
    assert len(found.ids) == len(set(found.ids))
    assert asked(f"/{TOKEN}/watch.js").headers["Content-Type"].startswith("text/javascript")


def test_every_part_that_the_script_replaces_is_in_the_page_and_in_what_it_fetches(reported):
    script = (store.open_folder(__file__).parent.parent / "robustness/watch/templates/watch.js").read_text("utf-8")
    parts = set(script.partition("const parts = [")[2].partition("]")[0].replace('"', "").split(", "))
    assert parts == set(Markup(status(reported.view, now=NOW)).ids)
    assert parts < set(Markup(page(reported.view, now=NOW)).ids)


def test_of_scripts_in_the_report_only_its_own_may_run(served, reported):
    answer = served(reported)(f"/{TOKEN}/report/index.html")
    policy = answer.headers["Content-Security-Policy"]
    html = answer.body.decode()
    assert policy == report_policy(html)
    assert policy.count("'sha256-") == html.count("<script>") > 0
    assert report_policy(html + "<script>alert(1)</script>") == policy
    assert "script-src" not in report_policy("<script>alert(1)</script>")


def test_the_status_changes_when_another_pack_is_stored(served, live):
    asked = served(live)
    first = asked(f"/{TOKEN}/status").body.decode()
    assert live.view.standing.progress in first
    store_more(live.folder, seed=1)
    asyncio.run(live.look())
    second = asked(f"/{TOKEN}/status").body.decode()
    assert first != second
    assert live.view.standing.total.done == sum(row["seed"] < 2 for row in planned_rows(small_study()))
    assert live.view.standing.progress in second


def test_a_study_that_can_not_be_read_any_more_keeps_its_last_standing_and_tells_why(live):
    before = live.view.standing
    text = (live.folder / "plan.parquet").read_bytes()
    (live.folder / "plan.parquet").unlink()
    asyncio.run(live.look())
    assert live.view.standing == before
    assert "no study here" in status(live.view, now=NOW)
    (live.folder / "plan.parquet").write_bytes(text)
    asyncio.run(live.look())
    assert "no study here" not in status(live.view, now=NOW)


def test_a_report_is_due_when_results_came_and_the_latest_is_old_enough(live):
    def due(view, minutes):
        return is_due(view, every=2 * MINUTE, now=NOW + minutes * MINUTE)

    view = View(live.view.standing)
    assert due(view, 0)
    assert not due(replace(view, is_rendering=True), 9)
    for failure in ("", "no finished trials"):
        view = replace(view, attempt=Attempt(view.standing, NOW, failure))
        assert not due(view, 9), "nothing came"
        running = (replace(view.standing.families[0], running=3), *view.standing.families[1:])
        assert not due(replace(view, standing=replace(view.standing, families=running)), 9), "no results came"
        store_more(live.folder, seed=1 if failure else 2)
        asyncio.run(live.look())
        more = replace(view, standing=live.view.standing)
        done = more.standing.total.left == 0
        assert [due(more, minutes) for minutes in (0, 1.9, 2, 9)] == [done, done, True, True]
        assert not due(replace(more, is_rendering=True), 9)
        view = more
    assert done
    later = replace(view.standing, last_stored=NOW)
    assert due(replace(view, standing=later, attempt=Attempt(view.standing, NOW, "")), 9), "failed trials ran again"


def test_a_report_is_rendered_again_with_the_results_that_came(served, live):
    asked = served(live)

    def shown():
        return asked(f"/{TOKEN}/report/index.html").body.decode(), asked(f"/{TOKEN}/status").body.decode()

    assert asked(f"/{TOKEN}/report/index.html").code == 404
    before = sorted(live.folder.rglob("*"))
    asyncio.run(live.render(now=NOW))
    first, told = shown()
    assert "The study is not complete" in first
    stored = live.view.standing.total.done
    assert (
        f">{clock(NOW, now=datetime.now(UTC))}</time>, {stored} of {len(planned_rows(small_study()))} trials." in told
    )
    assert before == sorted(live.folder.rglob("*"))
    assert is_due(live.view, every=MINUTE, now=NOW + 9 * MINUTE) is False
    for seed in (1, 2):
        store_more(live.folder, seed=seed)
    asyncio.run(live.look())
    assert shown()[0] == first
    asyncio.run(live.render(now=NOW + MINUTE))
    second, _ = shown()
    assert "The study is not complete" not in second
    assert [path.name for path in live.scratch.iterdir()] == ["2"]
    table = asked(f"/{TOKEN}/report/tables/robustness.csv")
    assert table.headers["Content-Disposition"] == 'attachment; filename="robustness.csv"'
    assert table.body == (live.scratch / "2/tables/robustness.csv").read_bytes()


def test_a_report_that_fails_says_why_and_leaves_the_one_before(live, reported):
    kept = replace(reported.view, standing=live.view.standing)
    live.view = kept
    for file in (live.folder / "trials").iterdir():
        file.unlink()
    asyncio.run(live.render(now=NOW))
    assert live.view.report == kept.report
    assert live.view.attempt.failure == f"{live.folder}: no finished trials to analyse yet"
    assert "No newer one yet:" in status(live.view, now=NOW)
    assert "No report yet:" in status(replace(live.view, report=None), now=NOW)
    assert list(live.scratch.iterdir()) == []


def test_hostile_words_stay_words(tmp_path):
    study = small_study(families={EVIL: {"loss": "nt_xent", "temperature": {"values": [0.1, 0.5]}}})
    (tmp_path / "scratch").mkdir()
    live = Live(write_store(tmp_path / "results", study, fails=one_seed), tmp_path / "scratch")
    found = replace(
        live.view.standing,
        study=EVIL,
        outcome=EVIL,
        families=(*live.view.standing.families, FamilyStanding("x", 1, {EVIL: 1}, 0, 0)),
        best=(*live.view.standing.best, Best(EVIL, EVIL, 0.5, 1, {EVIL: EVIL})),
    )
    view = View(found, trouble=EVIL, attempt=Attempt(found, NOW, EVIL))
    shown = Markup(page(view, now=NOW))
    assert shown.tags.count("script") == 1
    assert "img" not in shown.tags
    assert sum(text.count(visible(EVIL)) for text in shown.texts) >= 9
    assert not any("\u202e" in text for text in shown.texts)


def test_a_time_of_another_day_has_its_date():
    assert clock(NOW, now=NOW + MINUTE) == f"{NOW.astimezone():%H:%M:%S}"
    assert clock(NOW, now=NOW + 2000 * MINUTE) == f"{NOW.astimezone():%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_only_loopback_is_listened_at_unless_told_so(host):
    with pytest.raises(AddressError, match=r"expected 127\.0\.0\.1, ::1 or localhost, got .*; others need --insecure"):
        listen(host, 0, insecure=False)


def test_all_of_this_machine_is_listened_at_when_told_so():
    with listen("0.0.0.0", 0, insecure=True) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--host", "0.0.0.0"], "--host: expected 127.0.0.1, ::1 or localhost, got '0.0.0.0'; others need --insecure"),
        (["--port", "TAKEN"], "can't listen there: Address already in use"),
        (["--port", "65536"], "--port: expected 0 to 65535, got 65536"),
        (["--every", "0"], "--every: expected 1 to 86400 seconds, got 0"),
        ([], "results: no study here: plan.parquet is missing"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, options, line):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [str(taken.getsockname()[1]) if option == "TAKEN" else option for option in options]
        monkeypatch.setattr(sys, "argv", ["robustness", "watch", "results", *words])
        with pytest.raises(SystemExit) as end:
            main()
    signal.signal(signal.SIGTERM, before)
    printed = capsys.readouterr()
    assert (end.value.code, printed.out, printed.err.count("\n")) == (2, "", 1)
    assert line in printed.err


@pytest.mark.parametrize(
    ("moment", "how", "inherited"),
    [
        ("rendering", signal.SIGINT, signal.default_int_handler),
        ("rendering", signal.SIGTERM, signal.default_int_handler),
        ("serving", signal.SIGINT, signal.default_int_handler),
        ("serving", signal.SIGINT, signal.SIG_IGN),
    ],
)
def test_a_signal_ends_it_and_leaves_nothing(tmp_path, moment, how, inherited):
    folder = write_store(tmp_path / "results", small_study(), keep=one_seed)
    (tmp_path / "temporary").mkdir()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    # What runs in the background of a shell is told to ignore SIGINT.
    ours = signal.signal(signal.SIGINT, inherited)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "robustness.cli", "watch", "results"],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, ours)
    try:
        url = urlsplit(process.stdout.readline().removeprefix("watch: ").strip())
        assert url.hostname == "127.0.0.1"
        assert len(url.path) > 40

        def reported():
            return ask(url.port, f"{url.path}report/index.html").code == 200

        wait_until(lambda: descendants(process.pid) if moment == "rendering" else reported(), process, seconds=120)
        below = descendants(process.pid)
        process.send_signal(how)
        assert process.wait(timeout=60) == 0
        assert process.stdout.read() == ""
        gone(below)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        process.stdout.close()
    assert list((tmp_path / "temporary").iterdir()) == []
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
