"""An object store on this machine, and one between which and its clients requests and answers get lost.

A test file imports the fixtures `s3_fixture` and `s3_server_fixture`; its tests name them `s3` and `s3_server`.
"""

import http.client
import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import fsspec
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

BUCKET = "results"
READ_TIMEOUT = 0.5

_FAKE = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


@pytest.fixture(name="s3_server", scope="module")
def s3_server_fixture() -> Iterator[str]:
    """The address of an object store with one bucket; AWS_ENDPOINT_URL names it, in this process and its children."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with reached_at(f"http://{host}:{port}") as address:
            S3FileSystem().makedirs(BUCKET, exist_ok=True)
            yield address
    finally:
        server.stop()


@pytest.fixture(name="s3")
def s3_fixture(s3_server: str) -> str:
    """A prefix of its own in that object store: the URI of a results folder that is not there yet."""
    return f"s3://{BUCKET}/{uuid4().hex}"


@contextmanager
def reached_at(address: str) -> Iterator[str]:
    """Clients made from here on reach the object store at this address; they wait half a second for an answer."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in (_FAKE | {"AWS_ENDPOINT_URL": address}).items():
            patch.setenv(name, value)
        settings = {"config_kwargs": {"read_timeout": READ_TIMEOUT}}
        patch.setitem(fsspec.config.conf, "s3", settings)
        patch.setenv("FSSPEC_S3", json.dumps(settings))
        S3FileSystem.clear_instance_cache()
        try:
            yield address
        finally:
            S3FileSystem.clear_instance_cache()


class FaultyServer:
    """A way to an object store on which things go wrong as often as they are told to.

    `faults` holds (method, fault) in the order in which they meet requests of that method:
    `refuse` answers 500 without passing the request on, `busy` 503, `break` closes the connection,
    `lose` passes it on and closes the connection, `fail` passes it on and answers 500,
    `stall` passes it on and answers too late.
    """

    def __init__(self, address: str):
        self.faults: deque[tuple[str, str]] = deque()
        self.met: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(address.removeprefix("http://"), self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def next_fault(self, method: str) -> str | None:
        """What goes wrong with this request."""
        if self.faults and self.faults[0][0] == method:
            self.met.append(self.faults[0][1])
            return self.faults.popleft()[1]
        return None

    def close(self) -> None:
        """End it; requests that are under way are let go."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def faulty(address: str) -> Iterator[FaultyServer]:
    """Clients made from here on reach the object store of this address on a faulty way."""
    server = FaultyServer(address)
    try:
        with reached_at(server.address):
            yield server
    finally:
        server.close()


def _handler(upstream: str, faulty_server: FaultyServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def parse_request(self) -> bool:
            understood = super().parse_request()
            # One way to serve whatever is asked, where the base class looks for a method of the request's name.
            setattr(self, f"do_{self.command}", self.serve)
            return understood

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = faulty_server.next_fault(self.command)
            if fault in ("refuse", "busy"):
                self.answer(500 if fault == "refuse" else 503, [], b"")
                return
            if fault == "break":
                self.close_connection = True
                return
            answer = self.pass_on(body)
            if fault == "lose":
                self.close_connection = True
            elif fault == "fail":
                self.answer(500, [], b"")
            else:
                if fault == "stall":
                    time.sleep(2 * READ_TIMEOUT)
                self.answer(*answer)

        def pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(upstream)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                response = connection.getresponse()
                return response.status, response.getheaders(), response.read()
            finally:
                connection.close()

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            lengths = [value for name, value in headers if name.lower() == "content-length"]
            dropped = ("content-length", "transfer-encoding", "connection")
            try:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in dropped:
                        self.send_header(name, value)
                length = lengths[0] if self.command == "HEAD" and lengths else str(len(body))
                self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
