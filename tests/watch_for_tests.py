"""The page of a study, served on a free port of this machine."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from fake_store import planned_rows, small_study, trial_and_history

from robustness import store
from robustness.watch.gate import gate
from robustness.watch.live import Live
from robustness.watch.routes import application
from robustness.watch.server import listen, web_server


@contextmanager
def serving(live: Live, *, token: str, any_host: bool = False) -> Iterator[int]:
    """Serve what is live; gives the port."""
    listening = listen("127.0.0.1", 0, insecure=False)
    server = web_server(gate(application(live), token=token, any_host=any_host))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def ask(port, path, *, method="GET", host=None):
    """What the server answers to exactly this request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=host is not None)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        return SimpleNamespace(code=answer.status, headers=answer.headers, body=answer.read())
    finally:
        connection.close()


def one_seed(row):
    return row["seed"] == 0


def store_more(folder, *, seed):
    """Store what the plan has of another seed."""
    rows = [row for row in planned_rows(small_study()) if row["seed"] == seed]
    for pack in dict.fromkeys(row["pack_id"] for row in rows):
        members = [trial_and_history(row, failed=False) for row in rows if row["pack_id"] == pack]
        trials, histories = zip(*members, strict=True)
        store.write_pack(folder, pack, list(trials), [epoch for history in histories for epoch in history])
