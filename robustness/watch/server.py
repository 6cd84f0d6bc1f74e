"""The server of the page: where it listens, and how it ends."""

import asyncio
import ipaddress
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from starlette.types import ASGIApp

from robustness.store import Folder
from robustness.watch.gate import gate
from robustness.watch.live import Live, keep_up
from robustness.watch.routes import application

LAST_PORT = 65_535


class AddressError(ValueError):
    """Why nobody can listen at an address, in one line."""


def listen(host: str, port: int, *, insecure: bool) -> socket.socket:
    """A socket that listens.

    Args:
        host: a name or number of this machine.
        port: 0 for any that is free.
        insecure: whether other machines may reach it.

    Raises:
        AddressError: others could reach it and shall not, or it is taken, or not of this machine.
    """
    if not 0 <= port <= LAST_PORT:
        raise AddressError(f"--port: expected 0 to {LAST_PORT}, got {port}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError):
        raise AddressError(f"--host: no address of the name '{host}'") from None
    if not insecure and not ipaddress.ip_address(address[0]).is_loopback:
        raise AddressError(f"--host: expected 127.0.0.1, ::1 or localhost, got '{host}'; others need --insecure")
    try:
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise AddressError(f"--host {host} --port {port}: can't listen there: {error.strerror}") from None


def serve(
    folder: Folder,
    listening: socket.socket,
    *,
    every: timedelta,
    any_host: bool,
    on_ready: Callable[[str], None],
) -> None:
    """Serve the page of a study until SIGINT or SIGTERM; reads only, and leaves nothing behind.

    Args:
        folder: the results of a study, complete or not.
        listening: see `listen`.
        every: the report is rendered at most so often.
        any_host: whether requests may name this machine as they like.
        on_ready: gets the address of the page.

    Raises:
        StoreError: there is no study in `folder`, or it is damaged.
    """
    # Else the server, when it has stopped, would raise SIGTERM again, and that leaves the folder behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), listening, TemporaryDirectory(prefix="robustness-watch-") as scratch:
        live = Live(folder, Path(scratch))
        token = secrets.token_urlsafe()
        on_ready(f"http://{_name(listening)}/{token}/")
        pages = gate(application(live), token=token, any_host=any_host)
        asyncio.run(_serve(pages, live, listening, every=every))


def web_server(pages: ASGIApp) -> uvicorn.Server:
    """A server that logs nothing but its own faults: every address holds the token."""
    config = uvicorn.Config(
        pages, http="h11", ws="none", lifespan="off", log_config=None, log_level="error", access_log=False,
        proxy_headers=False, server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    return uvicorn.Server(config)


def _name(listening: socket.socket) -> str:
    """Host and port as an address has them; this machine's name where it listens on all its addresses."""
    host, port = listening.getsockname()[:2]
    name = socket.gethostname() if ipaddress.ip_address(host).is_unspecified else host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


async def _serve(pages: ASGIApp, live: Live, listening: socket.socket, *, every: timedelta) -> None:
    server = web_server(pages)
    watching = asyncio.create_task(keep_up(live, every=every))

    def stop(_: object) -> None:
        server.should_exit = True

    watching.add_done_callback(stop)
    await server.serve(sockets=[listening])
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
