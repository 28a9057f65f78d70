"""What belongs to no single model: `/v2`, health, `/v1/models`, `/v1/embeddings`, and 404 for models that are not here.

Holds no slot and no model. `/v1/embeddings` names its model in the body, so the body is read here and sent on, byte for
byte, to that model's application.
"""

import asyncio
import importlib.metadata
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving import bodies, errors, openai, protocol
from serving.config import ServingLimits

PASSED_ON = ("x-request-id", "x-request-timeout-ms", "traceparent")
PASSED_BACK = ("content-type", "retry-after", "x-request-id")
CONNECT_TIMEOUT_S = 2.0
READY_TIMEOUT_S = 2.0
# A replica refuses at its deadline itself; waiting longer than this for that means it hangs.
PATIENCE_S = 5.0


class Gateway:
    """Answers everything that no model's own application answers."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        ingress_url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Serve what `settings` say (see `reconfigure`); models answer behind `ingress_url`."""
        self._models: Mapping[str, ServingLimits] = {}
        self._awaited: Sequence[str] = ()
        self._take_in(settings)
        self._started_s = int(time.time())
        self._ingress = httpx.AsyncClient(
            base_url=ingress_url,
            transport=transport,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
        )
        self._answers: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "/v2": ("GET", self._server_metadata),
            "/v2/health/live": ("GET", self._live),
            "/v2/health/ready": ("GET", self._ready),
            "/v2/models": ("GET", self._v2_models),
            "/v1/models": ("GET", self._v1_models),
            "/v1/embeddings": ("POST", self._embeddings),
        }

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request; never raises, but for being cancelled because the client went away."""
        path: str = request.scope["path"]
        return await bodies.answer(self._route(request, path.rstrip("/")), as_openai=path.startswith("/v1/"))

    async def reconfigure(self, settings: Mapping[str, Any]) -> None:
        """Serve other models from now on; requests that run end as they began. Ray calls this on a live replica.

        `models` are their limits by name, `awaited` those without which the server is not ready: a model that may have
        no replica while nobody asks is not one of them.
        """
        self._take_in(settings)

    def _take_in(self, settings: Mapping[str, Any]) -> None:
        self._models = {name: ServingLimits.model_validate(limits) for name, limits in settings["models"].items()}
        self._awaited = tuple(settings["awaited"])

    async def _route(self, request: Request, path: str) -> Response:
        if path in self._answers:
            method, answer = self._answers[path]
            if request.method != method:
                raise errors.method_not_allowed(request.method, path)
            return await answer(request)
        if path.startswith("/v2/models/"):
            model = path.split("/")[3]
            self._check_known(model)
            raise errors.no_capacity(model)  # its application would have answered, were it up
        raise errors.unknown_path(request.scope["path"])

    def _check_known(self, model: str) -> None:
        if model not in self._models:
            raise errors.unknown_model(model, tuple(self._models))

    async def _server_metadata(self, _: Request) -> Response:
        version = importlib.metadata.version("vgpu-serve")
        return bodies.json_response({"name": "vgpu-serve", "version": version, "extensions": ["binary_tensor_data"]})

    async def _live(self, _: Request) -> Response:
        return Response(b"", 200)

    async def _ready(self, _: Request) -> Response:
        """Ready means every awaited model answers ready."""
        awaited = self._awaited
        answers = await asyncio.gather(*(self._model_ready(model) for model in awaited))
        waiting = [model for model, ready in zip(awaited, answers, strict=True) if not ready]
        if waiting:
            raise errors.no_capacity(", ".join(waiting))
        return Response(b"", 200)

    async def _model_ready(self, model: str) -> bool:
        try:
            answer = await self._ingress.get(f"/v2/models/{model}/ready", timeout=READY_TIMEOUT_S)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    async def _v2_models(self, _: Request) -> Response:
        return bodies.json_response({"models": [{"name": model} for model in self._models]})

    async def _v1_models(self, _: Request) -> Response:
        entries = [
            {"id": model, "object": "model", "created": self._started_s, "owned_by": "vgpu-serve"}
            for model in self._models
        ]
        return bodies.json_response({"object": "list", "data": entries})

    async def _embeddings(self, request: Request) -> Response:
        most_bytes = max(limits.max_body_bytes for limits in self._models.values())
        body = await bodies.read(request, most_bytes=most_bytes)
        model = openai.model_name(protocol.parse_object(body))
        self._check_known(model)
        most_ms = self._models[model].max_deadline_ms
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        answer = await self._forward(model, body, headers, most_ms)
        refusal = _refusal(answer)
        if refusal is not None:
            raise refusal
        kept = {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers}
        return Response(answer.content, answer.status_code, kept)

    async def _forward(self, model: str, body: bytes, headers: Mapping[str, str], most_ms: float) -> httpx.Response:
        path = f"/v2/models/{model}/v1/embeddings"
        try:
            async with asyncio.timeout(most_ms / 1000 + PATIENCE_S):
                return await self._ingress.post(path, content=body, headers=headers)
        except TimeoutError as error:
            raise errors.deadline_passed(most_ms) from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise errors.no_capacity(model) from error
        except httpx.HTTPError as error:
            raise errors.replica_lost() from error


def _refusal(answer: httpx.Response) -> errors.ApiError | None:
    """What the ingress itself refused is in v2's shape, and this path owes OpenAI's."""
    if answer.status_code == httpx.codes.OK:
        return None
    try:
        return errors.from_v2(answer.status_code, orjson.loads(answer.content))
    except orjson.JSONDecodeError:
        return None
