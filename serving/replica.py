"""The Ray Serve deployment: one replica, one slot, one model.

Loads once, batches what arrives, answers Open Inference Protocol v2 and, for embedders, OpenAI's embeddings, and serves
the worker's `/metrics` on an address of its own. A replica that loses its slot fails its health check, so that Serve
replaces it, and refuses what it holds.
"""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.simple_server import WSGIServer

import orjson
import prometheus_client
from ray import serve
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from models import catalog
from models.model import Embedder, InputTensor, InvalidInput
from serving import errors, metrics, openai, protocol, slot
from serving.batch import Batcher, BatchTimes
from serving.config import ModelConfig
from vgpu.emulator.client import DeviceLost, EngineUnavailable

log = logging.getLogger("ray.serve")

TIMEOUT_HEADER = "x-request-timeout-ms"


class Replica:
    """Answers everything under `/v2/models/<name>` for one model."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = ModelConfig.model_validate(config)
        limits = self._config.serving
        self._slot = slot.from_environment(os.environ)
        self._model = catalog.create(self._config.kind, **self._config.parameters)
        self._model.load()
        self._engine = slot.open_engine(self._slot, framebuffer_mib=self._model.framebuffer_mib)
        self._model.warm_up()
        self._device_problem: str | None = None
        # One thread: a slot's engine runs one batch at a time, and so must its stand-in on the CPU.
        self._computing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._metrics = metrics.create(self._identity(), objective_s=self._config.objective_p95_ms / 1000)
        self._metrics_server = _serve_metrics(self._metrics, self._slot)
        self._batcher: Batcher[Any, Any] = Batcher(
            run=self._execute,
            observe=self._observe,
            max_batch_size=limits.max_batch_size,
            max_wait_s=limits.max_wait_ms / 1000,
            max_queue=limits.max_queue,
        )
        self._metrics.queued_rows.set_function(lambda: self._batcher.queued)
        self._metrics.ready.set(1)

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request; never raises."""
        self._batcher.start()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        path = request.scope["path"].removeprefix(f"/v2/models/{self._config.name}").rstrip("/")
        openai_path = path.startswith("/v1/")
        with self._metrics.in_flight.track_inprogress():
            try:
                response = await self._route(request, path)
            except errors.ApiError as error:
                body = error.as_openai() if openai_path else error.as_v2()
                response = _json(body, error.status, error.headers)
            except ClientDisconnect:
                response = Response(b"", 499)
            except Exception:  # the client gets our shape, the log the traceback
                log.exception("answering %s failed", path)
                response = _json(errors.internal().as_v2(), 500)
        if request.method == "POST":
            self._metrics.requests.labels(self._config.name, str(response.status_code)).inc()
            if response.status_code == 200:
                self._metrics.request_duration_s.observe(loop.time() - began_s)
        return response

    async def check_health(self) -> None:
        """Raise when the slot is gone; Ray Serve then replaces this replica."""
        if self._device_problem is not None:
            raise RuntimeError(self._device_problem)

    async def __del__(self) -> None:
        if hasattr(self, "_metrics_server"):
            self._metrics_server.shutdown()
            self._metrics_server.server_close()
            await self._batcher.stop()
            await self._engine.close()

    async def _route(self, request: Request, path: str) -> Response:
        version = f"/versions/{self._model.metadata.version}"
        match request.method, path.removeprefix(version):
            case "POST", "/infer":
                return await self._infer(request)
            case "POST", "/v1/embeddings" if isinstance(self._model, Embedder):
                return await self._embeddings(request, self._model)
            case "GET", "":
                return _json(protocol.render_metadata(self._config.name, self._model.metadata), 200)
            case "GET", "/ready":
                if self._device_problem is not None:
                    raise errors.device_lost(self._device_problem)
                return Response(b"", 200)
            case _, "" | "/ready" | "/infer":
                raise errors.method_not_allowed(request.method, request.scope["path"])
        raise errors.unknown_path(request.scope["path"])

    async def _infer(self, request: Request) -> Response:
        body = await self._body(request)
        parsed = protocol.parse_infer(body, request.headers.get(protocol.HEADER_LENGTH))
        timeout_s = self._timeout_s(request.headers.get(TIMEOUT_HEADER), parsed.timeout_ms)
        results = await self._batcher.submit(self._items(parsed.tensors), timeout_s=timeout_s)
        outputs = self._model.tensors_from_results(results)
        reply = protocol.render_infer(self._config.name, self._model.metadata.version, parsed, outputs)
        return Response(reply.body, 200, dict(reply.headers))

    async def _embeddings(self, request: Request, model: Embedder[Any]) -> Response:
        document = protocol.parse_object(await self._body(request))
        dimensions = model.metadata.outputs[0].shape[-1]
        parsed = openai.parse_embeddings(document, dimensions=dimensions)
        timeout_s = self._timeout_s(request.headers.get(TIMEOUT_HEADER), None)
        items = self._items({model.metadata.inputs[0].name: parsed.tensor()})
        vectors = await self._batcher.submit(items, timeout_s=timeout_s)
        body = openai.render_embeddings(self._config.name, parsed, vectors, tokens=model.count_tokens(items))
        return Response(body, 200, {"Content-Type": "application/json"})

    async def _body(self, request: Request) -> bytes:
        most = self._config.serving.max_body_bytes
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > most:
            raise errors.too_large(f"the body has {announced} bytes; at most {most}")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise errors.too_large(f"the body has more than {most} bytes")
        return bytes(body)

    def _items(self, tensors: Mapping[str, InputTensor]) -> list[Any]:
        try:
            return self._model.items_from_tensors(tensors)
        except InvalidInput as error:
            raise errors.invalid_input(f"{error.field}: {error.problem}", field=error.field) from error

    def _timeout_s(self, header: str | None, parameter_ms: float | None) -> float:
        """The earliest of what header, body and configuration allow."""
        allowed_ms = self._config.serving.max_deadline_ms
        if parameter_ms is not None:
            allowed_ms = min(allowed_ms, parameter_ms)
        if header is None:
            return allowed_ms / 1000
        try:
            header_ms = float(header)
        except ValueError:
            header_ms = 0.0
        if not 0 < header_ms < float("inf"):
            raise errors.malformed(f"{TIMEOUT_HEADER}: expected milliseconds above 0", field=TIMEOUT_HEADER)
        return min(allowed_ms, header_ms) / 1000

    async def _execute(self, items: Sequence[Any]) -> Sequence[Any]:
        loop = asyncio.get_running_loop()
        demand_ns = self._model.engine_cost_ns(items)
        computing = loop.run_in_executor(self._computing, self._model.predict, items)
        try:
            execution = await self._engine.execute(demand_ns, computing)
        except (DeviceLost, EngineUnavailable) as error:
            self._device_problem = str(error)
            self._metrics.ready.set(0)
            raise errors.device_lost(str(error)) from error
        except MemoryError as error:
            raise errors.out_of_memory(f"the batch does not fit the slot: {error}") from error
        self._metrics.engine_busy_s.inc(execution.busy_s)
        if execution.host_was_late:
            self._metrics.host_late.inc()
        return execution.answer

    def _observe(self, times: BatchTimes) -> None:
        for waited_s in times.waited_s:
            self._metrics.queue_duration_s.observe(waited_s)
        self._metrics.execution_duration_s.observe(times.executed_s)
        self._metrics.batch_size.observe(len(times.waited_s))

    def _identity(self) -> metrics.WorkerIdentity:
        return metrics.WorkerIdentity(
            model=self._config.name,
            replica=serve.get_replica_context().replica_id.unique_id,
            slot=self._slot.slot_id,
            worker=self._slot.worker,
            profile=self._slot.profile,
            device_kind=self._slot.device_kind,
        )


def _json(document: object, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, {"Content-Type": "application/json", **(headers or {})})


def _serve_metrics(families: metrics.WorkerMetrics, bound: slot.Slot) -> WSGIServer:
    # The next replica of this worker may start while the last one still drains and holds the port: Ray Serve retries
    # the constructor, so the error below is enough.
    server, _ = prometheus_client.start_http_server(bound.metrics_port, bound.metrics_host, families.registry)
    return server
