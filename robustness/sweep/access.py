"""Who may use a cluster: the token that it asks for, tried from outside before anything is sent there."""

import os
import secrets
import socket
import subprocess
import sys
from typing import Literal

from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import Config  # type: ignore[attr-defined]  # its stubs lack them

from search_spaces.axes import StudyError

_SECONDS_TO_ANSWER = 10

_KNOCK = """
import sys
from ray._raylet import AuthenticationTokenLoader, GcsClient
from ray.exceptions import AuthenticationError
if sys.argv[2] == "token" and not AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True):
    sys.exit("refused")
try:
    GcsClient(address=sys.argv[1]).check_alive([], timeout=float(sys.argv[3]))
except AuthenticationError:
    sys.exit("refused")
sys.exit("let in")
"""
"""Runs in a process of its own: Ray keeps the first token that a process reads, and logs below Python."""


def use_local_token() -> None:
    """A token for clusters that this process starts: a random one unless one is given; nothing is written to a file."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    use_token(True)


def admitted(address: str, *, insecure: bool) -> str:
    """The address of a cluster that lets this process in, and nobody who lacks the token.

    Args:
        address: HOST:PORT of the cluster's head, or `auto` for the one that this machine belongs to.
        insecure: whether a cluster without token authentication is accepted; nothing secret is sent to it.

    Raises:
        StudyError: there is no cluster, or it refuses this process, or lets anybody in, in one line.
    """
    place = f"--address {address}"
    found = _resolved(address)
    guarded = not _lets_in(found, place, mode="disabled")
    if not guarded and not insecure:
        raise lets_anybody_in(place)
    if guarded and not _lets_in(found, place, mode="token"):
        raise refused(place)
    use_token(guarded)
    return found


def _resolved(address: str) -> str:
    place = f"--address {address}"
    if "://" in address:
        better = "use `robustness submit`" if address.startswith("http") else "give its head's HOST:PORT"
        raise StudyError(f"{place}: expected auto or HOST:PORT; {better}")
    try:
        found = canonicalize_bootstrap_address(address)
    except Exception as error:
        raise StudyError(f"{place}: {_line(error)}") from None
    if found is None:
        raise StudyError(f"{place}: this machine belongs to no cluster; start one with `ray start`, or give HOST:PORT")
    return str(found)


def _lets_in(address: str, place: str, *, mode: Literal["token", "disabled"]) -> bool:
    """Whether the head at this address lets a process in that shows its token, or none."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise StudyError(f"{place}: nothing listens at {address}: {_line(error)}") from None
    command = [sys.executable, "-c", _KNOCK, address, mode, str(_SECONDS_TO_ANSWER)]
    environment = os.environ | {"RAY_AUTH_MODE": mode}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=6 * _SECONDS_TO_ANSWER, check=False
        )
        said = done.stderr.strip().splitlines()[-1:]
    except subprocess.TimeoutExpired:
        said = []
    if said not in (["refused"], ["let in"]):
        raise StudyError(f"{place}: no head of a Ray cluster answers at {address}")
    return said == ["let in"]


def refused(place: str) -> StudyError:
    """The error of a cluster that this process may not use."""
    rule = "the cluster refuses this token, or there is none"
    return StudyError(f"{place}: {rule}; it is read from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token")


def lets_anybody_in(place: str) -> StudyError:
    """The error of a cluster that everybody may use."""
    rule = "the cluster asks for no token: whoever reaches it can run code on all of its machines"
    return StudyError(f"{place}: {rule}; start its head with RAY_AUTH_MODE=token, or accept that with --insecure")


def use_token(use: bool) -> None:
    """Whether this process shows its token to the clusters that it talks to; never to one that lets anybody in."""
    mode = "token" if use else "disabled"
    if os.environ.get("RAY_AUTH_MODE") != mode:
        os.environ["RAY_AUTH_MODE"] = mode
        # Ray has read its settings when it was imported.
        Config.initialize("")


def _line(error: object) -> str:
    return " ".join(str(error).split())[:300]
