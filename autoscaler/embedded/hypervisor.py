"""The hypervisor stand-in: `machines.Host` over HTTP, on loopback, for whoever has the token.

GET  /v1/machines                  {name: {state, gpu, profile, node}}; state running|suspended|off|changing
POST /v1/machines/NAME/ACTION      suspend|resume|power-off|power-on: 202; 404 unknown, 409 with {error, permanent}
POST /v1/faults                    tests: {kind, machine?, action?, times?, profile?}, see `machines.FaultKind`
DELETE /v1/faults                  nothing goes wrong from now on
PUT  /v1/pace                      {action: seconds}: how long each action takes
"""

import asyncio
import hmac
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import uvicorn
from pydantic import Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from autoscaler.config import lines_of
from autoscaler.embedded.addresses import HOST
from autoscaler.embedded.fleet import Fleet
from autoscaler.embedded.machines import Action, Declined, Fault, Host, Power, Unknown

START_TIMEOUT_S = 10.0
STOP_GRACE_S = 1
FAULT = TypeAdapter(Fault)
PACE = TypeAdapter(dict[Action, Annotated[float, Field(ge=0, allow_inf_nan=False)]])


class Hypervisor:
    """The host behind a lock: HTTP asks from its thread, the kubelet looks from its own."""

    def __init__(self, fleet: Fleet, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.host = Host(fleet)
        self._clock = clock
        self._lock = threading.Lock()

    def power(self) -> dict[str, Power]:
        """What each guest feels, by node."""
        with self._lock:
            return self.host.power(self._clock())

    def application(self, token: str) -> Starlette:
        """The routes; every one asks for the token."""

        async def authorise(request: Request, call_next: RequestResponseEndpoint) -> Response:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return _refusal(401, "no valid bearer token")
            return await call_next(request)

        return Starlette(
            routes=[
                Route("/v1/machines", self._list),
                Route("/v1/machines/{name}/{action}", self._ask, methods=["POST"]),
                Route("/v1/faults", self._inject, methods=["POST"]),
                Route("/v1/faults", self._clear, methods=["DELETE"]),
                Route("/v1/pace", self._set_pace, methods=["PUT"]),
            ],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=authorise)],
        )

    async def _list(self, _: Request) -> Response:
        with self._lock:
            seen = self.host.look(self._clock())
        return JSONResponse({name: asdict(view) for name, view in seen.items()})

    async def _ask(self, request: Request) -> Response:
        name, word = request.path_params["name"], request.path_params["action"]
        if word not in list(Action):
            return _refusal(404, f"there is no action {word!r}; there are {', '.join(Action)}")
        try:
            with self._lock:
                self.host.ask(name, Action(word), self._clock())
        except Unknown as unknown:
            return _refusal(404, str(unknown))
        except Declined as declined:
            return _refusal(409, str(declined), permanent=declined.permanent)
        return JSONResponse({}, 202)

    async def _inject(self, request: Request) -> Response:
        try:
            fault = FAULT.validate_json(await request.body())
        except ValidationError as error:
            return _refusal(422, "; ".join(lines_of(error)))
        with self._lock:
            self.host.faults.append(fault)
        return JSONResponse({}, 201)

    async def _clear(self, _: Request) -> Response:
        with self._lock:
            self.host.clear_faults(self._clock())
        return JSONResponse({})

    async def _set_pace(self, request: Request) -> Response:
        try:
            pace_s = PACE.validate_json(await request.body())
        except ValidationError as error:
            return _refusal(422, "; ".join(lines_of(error)))
        with self._lock:
            self.host.pace_s.update(pace_s)
        return JSONResponse({})


class Server:
    """Serves a hypervisor from a thread. Raises `OSError` where the port is taken."""

    def __init__(self, hypervisor: Hypervisor, *, port: int, token: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((HOST, port))
        except OSError:
            self._socket.close()
            raise
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}"
        application = hypervisor.application(token)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                application, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=STOP_GRACE_S
            )
        )
        self._thread = threading.Thread(target=self._serve, name="hypervisor", daemon=True)

    def start(self) -> None:
        """Return once requests are answered."""
        self._thread.start()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._uvicorn.started:
            if not self._thread.is_alive() or time.monotonic() > deadline_s:
                raise RuntimeError("the hypervisor stand-in ended while starting; its log says why")
            time.sleep(0.005)

    def stop(self) -> None:
        """Finish what is in flight, and free the port."""
        self._uvicorn.should_exit = True
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._uvicorn.serve(sockets=[self._socket]))


def _refusal(status: int, why: str, *, permanent: bool = True) -> Response:
    return JSONResponse({"error": why, "permanent": permanent}, status)
