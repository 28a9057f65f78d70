"""The HTTP side: which path is which question. Decisions are made on the event loop, since each takes about a
millisecond; what calls the API or reads the whole fleet goes to threads."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TypeVar

import orjson
from prometheus_client import exposition
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vgpu.adapters.kube_errors import NotFound, Unavailable
from vgpu.adapters.kube_verbs import PODS, Verbs
from vgpu.core import request
from vgpu.core.fractions.defragmentation import Goal
from vgpu.core.request import PodRequest, RequestRefused
from vgpu.extender import outlook, tidying, webhook, wire
from vgpu.extender.desk import Desk
from vgpu.extender.service import Extender

Result = TypeVar("Result")
Endpoint = Callable[[Request], Awaitable[Response]]
Verb = Callable[[bytes], Awaitable[bytes]]

JSON = "application/json"
# A NodeList of 5,000 full nodes takes about 50 MB; a body that grows for ever must end somewhere.
MOST_BODY_BYTES = 256 << 20
# Bindings at one time: no slower than 32 (tests.bench.extender), and the client keeps 10 connections on two cores.
BINDERS = 8


class Application:
    """The routes of one extender."""

    def __init__(self, extender: Extender, cluster: Verbs) -> None:
        self._extender, self._cluster = extender, cluster
        self._binders = ThreadPoolExecutor(BINDERS, thread_name_prefix="bind")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="read")

    def routes(self) -> Starlette:
        """The ASGI application."""
        posts = {
            "/filter": self._timed("filter", self._filter, wire.render_filter_error),
            "/prioritize": self._timed("prioritize", self._prioritize, lambda why: wire.render_scores({})),
            "/bind": self._timed("bind", self._bind, wire.render_bind),
            "/preempt": self._timed("preempt", self._preempt, lambda why: wire.render_preempt({})),
            "/mutate": self._timed("mutate", self._mutate, webhook.refuse),
            "/explain": self._explain_posted,
            "/what-if": self._what_if,
        }
        gets = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/explain": self._explain_named,
            "/defragmentation": self._defragmentation,
        }
        return Starlette(
            routes=[
                *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posts.items()),
                *(Route(path, endpoint, methods=["GET"]) for path, endpoint in gets.items()),
            ]
        )

    def close(self) -> None:
        """End the threads once their work is done."""
        self._binders.shutdown()
        self._readers.shutdown()

    def _timed(self, verb: str, answer: Verb, refuse: Callable[[str], bytes]) -> Endpoint:
        """Whatever is wrong is said in an answer of 200: of others the scheduler does not read the body."""

        async def endpoint(asked: Request) -> Response:
            began_s = time.perf_counter()
            try:
                said = await answer(await _body(asked))
            except wire.Malformed as fault:
                said = refuse(str(fault))
            self._extender.tally.took(verb, time.perf_counter() - began_s)
            return Response(said, media_type=JSON)

        return endpoint

    # What the scheduler asks.

    async def _filter(self, body: bytes) -> bytes:
        return self._extender.filter(wire.parse_filter(body))

    async def _prioritize(self, body: bytes) -> bytes:
        return self._extender.prioritize(wire.parse_filter(body))

    async def _bind(self, body: bytes) -> bytes:
        asked = wire.parse_bind(body)
        return wire.render_bind(await _in(self._binders, lambda: self._extender.bind(asked)))

    async def _preempt(self, body: bytes) -> bytes:
        return self._extender.preempt(wire.parse_preempt(body))

    async def _mutate(self, body: bytes) -> bytes:
        return webhook.review(body)

    # What people ask.

    async def _explain_posted(self, asked: Request) -> Response:
        try:
            body = await _body(asked)
        except wire.Malformed as fault:
            return _refused(str(fault))
        return await self._about(lambda: wire.parse_body(body), self._explain)

    async def _explain_named(self, asked: Request) -> Response:
        namespace, _, name = asked.query_params.get("pod", "").rpartition("/")
        if not name:
            return _refused("add ?pod=NAMESPACE/NAME, or post the pod's manifest")
        return await self._about(lambda: self._cluster.read(PODS, name, namespace or "default"), self._explain)

    async def _what_if(self, asked: Request) -> Response:
        try:
            body = await _body(asked)
        except wire.Malformed as fault:
            return _refused(str(fault))

        def look(parsed: PodRequest) -> object:
            given = wire.parse_body(body)
            count, nodes = wire.get(given, "Count"), wire.get(given, "Nodes") or []
            count = 1 if count is None else count
            if not isinstance(count, int) or not 1 <= count <= outlook.MOST_PODS:
                raise wire.Malformed(f"Count is {count!r}; 1 to {outlook.MOST_PODS} pods can be asked about")
            if not isinstance(nodes, list):
                raise wire.Malformed("Nodes must be a list of node objects")
            known = [wire.as_node(node) for node in nodes]
            with self._extender.lock:
                books = self._extender.desk.books()
            return outlook.what_if(Desk.trial(self._extender.desk.policy, books), parsed, count, known)

        return await self._about(lambda: wire.as_object(wire.get(wire.parse_body(body), "Pod"), "Pod"), look)

    def _explain(self, parsed: PodRequest) -> object:
        with self._extender.lock:  # the live board: a copy would take longer than the answer
            return outlook.explain(self._extender.desk, parsed)

    async def _defragmentation(self, asked: Request) -> Response:
        goal, moves = asked.query_params.get("goal", Goal.GPU), asked.query_params.get("most_moves")
        if goal not in list(Goal):
            return _refused(f"goal is {goal!r}; one of {', '.join(Goal)}")
        if moves is not None and not re.fullmatch(r"[1-9][0-9]{0,5}", moves):
            return _refused(f"most_moves is {moves!r}; a whole number above 0, or leave it out")
        if why := self._extender.readiness.why_not():
            return _refused(why, HTTPStatus.SERVICE_UNAVAILABLE)

        def work() -> Response:
            with self._extender.lock:
                books = self._extender.desk.books()
            trial = Desk.trial(self._extender.desk.policy, books)
            plan = tidying.tidy(trial, Goal(goal), int(moves) if moves else None)
            return Response(orjson.dumps(plan, option=orjson.OPT_INDENT_2), media_type=JSON)

        return await _in(self._readers, work)

    async def _about(self, read: Callable[[], wire.Json], look: Callable[[PodRequest], object]) -> Response:
        """Answer a question about a pod."""

        def work() -> Response:
            try:
                parsed = request.parse_request(wire.as_manifest(read()))
                if not parsed.asks:
                    return _refused(f"pod {parsed.pod} asks for no units; any node may take it")
                return Response(orjson.dumps(look(parsed), option=orjson.OPT_INDENT_2), media_type=JSON)
            except (wire.Malformed, RequestRefused) as fault:
                return _refused(str(fault))
            except NotFound as fault:
                return _refused(str(fault), HTTPStatus.NOT_FOUND)
            except Unavailable as fault:
                return _refused(str(fault), HTTPStatus.SERVICE_UNAVAILABLE)

        return await _in(self._readers, work)

    # What probes ask.

    async def _health(self, asked: Request) -> Response:
        return Response("ok\n")

    async def _ready(self, asked: Request) -> Response:
        why = self._extender.readiness.why_not()
        return Response(f"{why or 'ok'}\n", HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK)

    async def _metrics(self, asked: Request) -> Response:
        text = await _in(self._readers, lambda: exposition.generate_latest(self._extender.tally.registry))
        return Response(text, media_type=exposition.CONTENT_TYPE_LATEST)


async def _in(threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


async def _body(asked: Request) -> bytes:
    parts, size = [], 0
    async for part in asked.stream():
        size += len(part)
        if size > MOST_BODY_BYTES:
            raise wire.Malformed(f"the body is above {MOST_BODY_BYTES >> 20} MiB; set nodeCacheCapable: true")
        parts.append(part)
    return b"".join(parts)


def _refused(why: str, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY) -> Response:
    return Response(orjson.dumps({"error": why}), status, media_type=JSON)
