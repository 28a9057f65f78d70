"""The Ray Serve deployment: one replica, one slot, one model.

Loads once, batches what arrives, answers Open Inference Protocol v2 and, for embedders, OpenAI's embeddings, and serves
the worker's `/metrics` and `/drain` on an address of their own. A replica that loses its slot fails its health check,
so that Serve replaces it, and refuses what it holds.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from models import catalog
from models.model import Embedder, InputTensor, InvalidInput
from serving import bodies, errors, metrics, openai, protocol, slot
from serving.batch import Batcher, BatchTimes
from serving.config import ModelConfig
from serving.drain import Drain, RayDrain
from serving.worker_http import WorkerServer
from vgpu.emulator.client import DeviceLost, EngineUnavailable

TIMEOUT_HEADER = "x-request-timeout-ms"
# Reading rows out of a larger body leaves the event loop: 8 kB of text take MiniLM's tokenizer 4 ms, a hop to a thread
# and back 0.1 ms. It helps as far as the tokenizer lets go of the interpreter meanwhile.
LARGE_BODY_BYTES = 8192


class Replica:
    """Answers everything under `/v2/models/<name>` for one model."""

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        replica_id: str | None = None,
        drain: Drain | None = None,
    ) -> None:
        """Take the slot and load the model. Ray binds `config`; the rest is what a replica finds around itself."""
        self._config = ModelConfig.model_validate(config)
        limits = self._config.serving
        self._slot = slot.from_environment(os.environ if environment is None else environment)
        self._model = catalog.create(self._config.source, **self._config.parameters)
        self._model.load()
        self._engine = slot.open_engine(self._slot, framebuffer_mib=self._model.framebuffer_mib)
        self._model.warm_up()
        self._answers = self._table()
        self._device_problem: str | None = None
        # One thread: a slot's engine runs one batch at a time, and so must its stand-in on the CPU.
        self._computing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rows")
        identity = self._identity(replica_id or serve.get_replica_context().replica_id.unique_id)
        self._metrics = metrics.create(identity, objective_s=self._config.objective_p95_ms / 1000)
        # The next replica of this worker may start while the last one still drains and holds the port: Ray Serve then
        # starts it again, so an OSError here is enough.
        self._worker_server = WorkerServer(
            self._slot.metrics_host, self._slot.metrics_port, self._metrics.registry, drain or RayDrain()
        )
        self._worker_server.start()
        self._batcher: Batcher[Any, Any] = Batcher(
            run=self._execute,
            observe=self._observe,
            max_batch_size=limits.max_batch_size,
            max_wait_s=limits.max_wait_ms / 1000,
            max_queue=limits.max_queue,
        )
        self._metrics.queued_rows.set_function(lambda: self._batcher.queued)
        self._metrics.ready.set(1)
        self._is_open = True

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request; never raises, but for being cancelled because the client went away."""
        self._batcher.start()
        path = self._path(request)
        answering = bodies.answer(self._route(request, path), as_openai=path.startswith("/v1/"))
        if request.method == "POST" and ("POST", path) in self._answers:
            return await self._counted(answering)
        return await answering

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take in another objective and other limits; requests that run end as they began.

        Ray calls this on a live replica where nothing else has changed, and on a new one with what it was made of.
        """
        before, self._config = self._config, ModelConfig.model_validate(config)
        limits = self._config.serving
        self._batcher.max_batch_size = limits.max_batch_size
        self._batcher.max_wait_s = limits.max_wait_ms / 1000
        self._batcher.max_queue = limits.max_queue
        if self._config.objective_p95_ms != before.objective_p95_ms:
            self._metrics.durations.renew(objective_s=self._config.objective_p95_ms / 1000)

    async def check_health(self) -> None:
        """Raise when the slot is gone; Ray Serve then replaces this replica."""
        if self._device_problem is not None:
            raise RuntimeError(self._device_problem)

    async def close(self) -> None:
        """Refuse what waits; give back the slot and the metrics' port. A second call changes nothing."""
        if not self._is_open:
            return
        self._is_open = False
        await self._batcher.stop()
        await self._engine.close()
        await asyncio.to_thread(self._worker_server.shutdown)  # it looks up every half a second only
        self._worker_server.server_close()
        for threads in (self._computing, self._reading):
            threads.shutdown(wait=False)

    def __del__(self) -> Awaitable[None] | None:
        """Ray Serve calls this, and awaits what comes back, when it stops the replica."""
        return self.close() if getattr(self, "_is_open", False) else None

    def _table(self) -> dict[tuple[str, str], Callable[[Request], Awaitable[Response]]]:
        """What is answered, by method and path. Each POST asks the model for something, and is counted."""
        answers: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", ""): self._describe,
            ("GET", "/ready"): self._ready,
            ("POST", "/infer"): self._infer,
        }
        if isinstance(self._model, Embedder):
            answers["POST", "/v1/embeddings"] = partial(self._embeddings, self._model)
        return answers

    def _path(self, request: Request) -> str:
        """The path below the model's name and version."""
        path: str = request.scope["path"]
        return (
            path.removeprefix(f"/v2/models/{self._config.name}")
            .removeprefix(f"/versions/{self._model.metadata.version}")
            .rstrip("/")
        )

    async def _route(self, request: Request, path: str) -> Response:
        answering = self._answers.get((request.method, path))
        if answering is not None:
            return await answering(request)
        if any(path == known for _, known in self._answers):
            raise errors.method_not_allowed(request.method, request.scope["path"])
        raise errors.unknown_path(request.scope["path"])

    async def _counted(self, answering: Awaitable[Response]) -> Response:
        """Count one request to the model, whatever became of it."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        code = bodies.CLIENT_GONE
        try:
            with self._metrics.in_flight.track_inprogress():
                response = await answering
            code = response.status_code
        finally:
            self._metrics.requests.labels(self._config.name, str(code)).inc()
        if code == 200:
            took_s = loop.time() - began_s
            self._metrics.request_duration_s.observe(took_s)
            if took_s <= self._config.objective_p95_ms / 1000:
                self._metrics.requests_within_objective.inc()
        return response

    async def _describe(self, _: Request) -> Response:
        return bodies.json_response(protocol.render_metadata(self._config.name, self._model.metadata))

    async def _ready(self, _: Request) -> Response:
        if self._device_problem is not None:
            raise errors.device_lost(self._device_problem)
        return Response(b"", 200)

    async def _infer(self, request: Request) -> Response:
        arrived_s = asyncio.get_running_loop().time()
        metadata = self._model.metadata
        body = await bodies.read(request, most_bytes=self._config.serving.max_body_bytes)
        outputs = [output.name for output in metadata.outputs]
        parsed = protocol.parse_infer(body, request.headers.get(protocol.HEADER_LENGTH), outputs=outputs)
        timeout_s = self._timeout_s(request.headers.get(TIMEOUT_HEADER), parsed.timeout_ms)
        items = await self._items(parsed.tensors, body_bytes=len(body))
        results = await self._batcher.submit(items, timeout_s=timeout_s, since_s=arrived_s)
        try:
            tensors = self._model.tensors_from_results(results)
        except InvalidInput as error:  # what only the network itself could see
            raise errors.invalid_input(f"{error.field}: {error.problem}", field=error.field) from error
        reply = protocol.render_infer(self._config.name, metadata.version, parsed, tensors)
        return Response(reply.body, 200, dict(reply.headers))

    async def _embeddings(self, model: Embedder[Any], request: Request) -> Response:
        arrived_s = asyncio.get_running_loop().time()
        body = await bodies.read(request, most_bytes=self._config.serving.max_body_bytes)
        dimensions = model.metadata.outputs[0].shape[-1]
        parsed = openai.parse_embeddings(protocol.parse_object(body), dimensions=dimensions)
        timeout_s = self._timeout_s(request.headers.get(TIMEOUT_HEADER), None)
        items = await self._items({model.metadata.inputs[0].name: parsed.tensor()}, body_bytes=len(body))
        vectors = await self._batcher.submit(items, timeout_s=timeout_s, since_s=arrived_s)
        reply = openai.render_embeddings(self._config.name, parsed, vectors, tokens=model.count_tokens(items))
        return Response(reply, 200, {"Content-Type": "application/json"})

    async def _items(self, tensors: Mapping[str, InputTensor], *, body_bytes: int) -> list[Any]:
        """Rows of a request, read from its tensors once there is room for them in the queue."""
        self._batcher.admit(max(tensor.shape[0] if tensor.shape else 0 for tensor in tensors.values()))
        try:
            if body_bytes < LARGE_BODY_BYTES:
                return self._model.items_from_tensors(tensors)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._reading, self._model.items_from_tensors, tensors)
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

    def _identity(self, replica_id: str) -> metrics.WorkerIdentity:
        return metrics.WorkerIdentity(
            model=self._config.name,
            replica=replica_id,
            slot=self._slot.slot_id,
            worker=self._slot.worker,
            profile=self._slot.profile,
            device_kind=self._slot.device_kind,
        )
