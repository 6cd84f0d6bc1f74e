"""Who may use a cluster: the token that it asks for, tried from outside before anything is sent there."""

import os
import secrets
import socket
import subprocess
import sys
from typing import Literal

from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import Config, GcsClient  # type: ignore[attr-defined]  # its stubs lack them
from ray.exceptions import AuthenticationError, RayError

from search_spaces.axes import StudyError

_SECONDS_TO_ANSWER = 10

_WITHOUT_A_TOKEN = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).check_alive([], timeout=float(sys.argv[2]))
except AuthenticationError:
    print("refused")
else:
    print("let in")
"""
"""Runs in a process of its own: Ray keeps the first token that a process reads."""


def use_local_token() -> None:
    """A token for clusters that this process starts: a random one unless one is given; nothing is written to a file."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    _use("token")


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
    if _lets_anybody_in(found, place):
        if not insecure:
            rule = "its head has no token: whoever reaches its port can run code on all of its machines"
            raise StudyError(f"{place}: {rule}; start it with RAY_AUTH_MODE=token, or accept that with --insecure")
        _use("disabled")
        return found
    _use("token")
    try:
        GcsClient(address=found).check_alive([], timeout=_SECONDS_TO_ANSWER)
    except AuthenticationError:
        rule = "the cluster refuses this token, or there is none; it is read from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH"
        raise StudyError(f"{place}: {rule} or ~/.ray/auth_token") from None
    except RayError as error:
        raise StudyError(f"{place}: the cluster does not answer: {_line(error)}") from None
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


def _lets_anybody_in(address: str, place: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise StudyError(f"{place}: nothing listens at {address}: {_line(error)}") from None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    command = [sys.executable, "-c", _WITHOUT_A_TOKEN, address, str(_SECONDS_TO_ANSWER)]
    environment["RAY_AUTH_MODE"] = "disabled"
    try:
        said = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=6 * _SECONDS_TO_ANSWER, check=False
        )
    except subprocess.TimeoutExpired:
        raise StudyError(f"{place}: no head of a Ray cluster answers at {address}") from None
    answer = said.stdout.strip()
    if answer not in ("refused", "let in"):
        raise StudyError(f"{place}: no head of a Ray cluster answers at {address}: {_line(said.stderr)[-200:]}")
    return answer == "let in"


def _use(mode: Literal["token", "disabled"]) -> None:
    if os.environ.get("RAY_AUTH_MODE") != mode:
        os.environ["RAY_AUTH_MODE"] = mode
        # Ray has read its settings when it was imported.
        Config.initialize("")


def _line(error: object) -> str:
    return " ".join(str(error).split())[:300]
