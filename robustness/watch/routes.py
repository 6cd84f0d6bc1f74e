"""What the server answers: its own page and the files of the latest report, to whoever knows the token."""

import asyncio
import base64
import hashlib
import mimetypes
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from robustness.watch import page
from robustness.watch.live import Live

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_OWN = {"watch.js": "text/javascript", "watch.css": "text/css"}
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def application(live: Live) -> Starlette:
    """The pages about one study."""

    async def whole(request: Request) -> Response:
        return _html(page.page(live.view, now=datetime.now(UTC)))

    async def changing(request: Request) -> Response:
        return _html(page.status(live.view, now=datetime.now(UTC)))

    async def reported(request: Request) -> Response:
        return await _report_file(live, request.path_params["name"])

    own = [Route(f"/{name}", _own(name)) for name in _OWN]
    return Starlette(
        routes=[Route("/", whole), Route("/status", changing), *own, Route("/report/{name:path}", reported)]
    )


def report_policy(html: str) -> str:
    """The policy of the report's page: of all scripts in it, those that it ships with may run."""
    hashes = " ".join(f"'sha256-{_hash(text)}'" for text in _SCRIPT.findall(html) if text.strip() in _report_scripts())
    return f"{FILE_POLICY}; script-src {hashes}" if hashes else FILE_POLICY


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _report_scripts() -> frozenset[str]:
    templates = files("analysis") / "templates"
    return frozenset(file.read_text("utf-8").strip() for file in templates.iterdir() if file.name.endswith(".js"))


def _html(text: str) -> Response:
    return HTMLResponse(text, headers={"Content-Security-Policy": PAGE_POLICY})


def _own(name: str) -> Callable[[Request], Awaitable[Response]]:
    """A file of the page, which comes with this package."""

    async def answer(request: Request) -> Response:
        content = (files("robustness.watch") / "templates" / name).read_bytes()
        return Response(content, media_type=_OWN[name])

    return answer


async def _report_file(live: Live, name: str) -> Response:
    """A file of the latest report: one of those that it wrote, by the whole name, so no path leads elsewhere."""
    path = None if live.view.report is None else live.view.report.files.get(name)
    try:
        content = None if path is None else await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError:
        # A newer report took its place meanwhile.
        content = None
    if content is None:
        return Response(status_code=404)
    if name.endswith(".html"):
        text = content.decode()
        return HTMLResponse(text, headers={"Content-Security-Policy": report_policy(text)})
    headers = {"Content-Security-Policy": FILE_POLICY}
    if name.startswith("tables/"):
        headers["Content-Disposition"] = f'attachment; filename="{PurePosixPath(name).name}"'
    return Response(content, media_type=mimetypes.guess_type(name)[0] or "application/octet-stream", headers=headers)
