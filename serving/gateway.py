"""What belongs to no single model: `/v2`, health, `/v1/models`, `/v1/embeddings`, and 404 for models that are not here.

Holds no slot and no model. `/v1/embeddings` names its model in the body, so the body is read here and sent on, byte for
byte, to that model's application.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import httpx
import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving import errors, openai, protocol

JSON = {"Content-Type": "application/json"}
PASSED_ON = ("x-request-id", "x-request-timeout-ms", "traceparent")
MAX_BODY_BYTES = 16 << 20
READY_TIMEOUT_S = 2.0


class Gateway:
    """Answers everything that no model's own application answers."""

    def __init__(self, models: Sequence[str], ingress_url: str) -> None:
        self._models = tuple(models)
        self._started_s = int(time.time())
        self._ingress = httpx.AsyncClient(base_url=ingress_url, timeout=httpx.Timeout(60, connect=2))

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request; never raises."""
        path = request.scope["path"]
        try:
            return await self._route(request, path.rstrip("/"))
        except errors.ApiError as error:
            body = error.as_openai() if path.startswith("/v1/") else error.as_v2()
            return Response(orjson.dumps(body), error.status, {**JSON, **error.headers})

    async def _route(self, request: Request, path: str) -> Response:
        known: dict[str, tuple[str, Any]] = {
            "/v2": ("GET", self._server_metadata),
            "/v2/health/live": ("GET", self._live),
            "/v2/health/ready": ("GET", self._ready),
            "/v2/models": ("GET", self._v2_models),
            "/v1/models": ("GET", self._v1_models),
            "/v1/embeddings": ("POST", self._embeddings),
        }
        if path in known:
            method, answer = known[path]
            if request.method != method:
                raise errors.method_not_allowed(request.method, path)
            return await answer(request)
        parts = path.split("/")
        if path.startswith("/v2/models/") and parts[3] not in self._models:
            raise errors.unknown_model(parts[3], self._models)
        raise errors.unknown_path(request.scope["path"])

    async def _server_metadata(self, _: Request) -> Response:
        return _json({"name": "vgpu-serve", "version": "0.1.0", "extensions": ["binary_tensor_data"]})

    async def _live(self, _: Request) -> Response:
        return Response(b"", 200)

    async def _ready(self, _: Request) -> Response:
        """Ready means every model answers ready."""
        answers = await asyncio.gather(*(self._model_ready(model) for model in self._models))
        waiting = [model for model, ready in zip(self._models, answers, strict=True) if not ready]
        if waiting:
            raise errors.no_capacity(", ".join(waiting))
        return Response(b"", 200)

    async def _model_ready(self, model: str) -> bool:
        try:
            answer = await self._ingress.get(f"/v2/models/{model}/ready", timeout=READY_TIMEOUT_S)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    async def _v2_models(self, _: Request) -> Response:
        return _json({"models": [{"name": model} for model in self._models]})

    async def _v1_models(self, _: Request) -> Response:
        entries = [
            {"id": model, "object": "model", "created": self._started_s, "owned_by": "vgpu-serve"}
            for model in self._models
        ]
        return _json({"object": "list", "data": entries})

    async def _embeddings(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > MAX_BODY_BYTES:
            raise errors.too_large(f"the body has {len(body)} bytes; at most {MAX_BODY_BYTES}")
        model = openai.model_name(protocol.parse_object(body))
        if model not in self._models:
            raise errors.unknown_model(model, self._models)
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        try:
            answer = await self._ingress.post(f"/v2/models/{model}/v1/embeddings", content=body, headers=headers)
        except httpx.HTTPError as error:
            raise errors.no_capacity(model) from error
        kept = {name: answer.headers[name] for name in ("content-type", "retry-after") if name in answer.headers}
        return Response(answer.content, answer.status_code, kept)


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), 200, JSON)
