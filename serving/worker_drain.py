"""Gives up a worker's slot before its pod ends: asks the replica's own server to drain, and waits until it has gone.

Only the standard library: a probe and a hook of the kubelet begin a Python process each time they run.
"""

import http.client
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

ASK_TIMEOUT_S = 10.0
LOOK_S = 0.5


class DrainFailed(Exception):
    """The replica has not gone; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Seconds, and waiting for some."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


REAL_CLOCK = Clock()


def drain(host: str, port: int, *, token_file: Path | None, timeout_s: float, clock: Clock = REAL_CLOCK) -> bool:
    """Drain the worker that listens there; False where none does, for it holds no replica.

    Returns once the replica has stopped listening: Ray Serve stops it when a substitute runs, or its target has fallen.
    Raises `DrainFailed` where it is refused, or after `timeout_s`.
    """
    deadline_s = clock.now_s() + timeout_s
    while True:
        answer = _ask(host, port, token_file)
        if answer is None:
            return False
        status, said = answer
        if status == HTTPStatus.OK:
            break
        if status != HTTPStatus.SERVICE_UNAVAILABLE or clock.now_s() + LOOK_S > deadline_s:
            raise DrainFailed(f"the worker on {host}:{port} answered {status}: {said}")
        clock.sleep(LOOK_S)  # Ray's control store may be starting again
    while _listens(host, port):
        if clock.now_s() + LOOK_S > deadline_s:
            raise DrainFailed(f"the replica on {host}:{port} still runs after {timeout_s:g} s: no substitute took over")
        clock.sleep(LOOK_S)
    return True


def _ask(host: str, port: int, token_file: Path | None) -> tuple[int, str] | None:
    """Ask for the drain: status and reason; None where nobody listens."""
    headers = {"Content-Length": "0"}
    if token_file is not None:
        headers["Authorization"] = f"Bearer {token_file.read_text().strip()}"
    connection = http.client.HTTPConnection(host, port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("POST", "/drain", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    except ConnectionError:
        return None
    except (OSError, http.client.HTTPException) as error:
        return HTTPStatus.SERVICE_UNAVAILABLE, f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    try:
        return answer.status, str(json.loads(body).get("error", ""))
    except (ValueError, AttributeError):
        return answer.status, body.decode("utf-8", "replace")[:200]


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=ASK_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def why_not_joined(host: str, port: int, *, timeout_s: float) -> str | None:
    """Why the Ray node of this host cannot take a replica yet, as Ray's agent on it says; None where it can.

    The agent asks Ray's control store whether the node is alive, and needs no token for this.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/api/local_raylet_healthz")
        answer = connection.getresponse()
        said = answer.read().decode("utf-8", "replace")[:200]
    except (OSError, http.client.HTTPException) as error:
        return f"Ray's agent on {host}:{port} does not answer: {type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if answer.status == HTTPStatus.OK else f"Ray's agent on {host}:{port} answered {answer.status}: {said}"
