"""Who is let in: requests that only read, name this machine, and hold the token; others are told nothing."""

import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # The token is part of the address: it stays out of other addresses, of caches and of other sites' reach.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
READING = ("GET", "HEAD")


def gate(pages: ASGIApp, *, token: str, any_host: bool) -> ASGIApp:
    """Pages below /TOKEN/; GET and HEAD only.

    Args:
        token: the first part of every path that is answered.
        any_host: whether a request may address this machine by any name; else by loopback's only.
    """

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = _refusal(scope, token=token, any_host=any_host)
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
        else:
            await pages({**scope, "root_path": f"/{token}"}, receive, send_guarded)

    return guarded


def _refusal(scope: Scope, *, token: str, any_host: bool) -> Response | None:
    if scope["method"] not in READING:
        return Response(status_code=405, headers={"Allow": ", ".join(READING)})
    # A foreign page whose name was pointed at this machine sends that name.
    if not any_host and not _is_loopback(Headers(scope=scope).get("host", "")):
        return Response(status_code=403)
    given, _, _ = scope["path"].removeprefix("/").partition("/")
    if not secrets.compare_digest(given.encode(), token.encode()):
        return Response(status_code=404)
    return None


def _is_loopback(host: str) -> bool:
    """Whether a Host header names this machine; its port may be another's that is forwarded here."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
