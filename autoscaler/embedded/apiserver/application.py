"""Answers HTTP requests from the store: what the verb is, what the client may send, in which form it gets the answer.

Everything runs on one event loop and no request waits between reading and writing the store, so every write is atomic.
"""

import asyncio
import json
from collections.abc import Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from autoscaler.embedded.apiserver import (
    deletion,
    discovery,
    errors,
    listing,
    patches,
    paths,
    selectors,
    subresources,
    tables,
)
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.faults import Faults
from autoscaler.embedded.apiserver.metadata import Part
from autoscaler.embedded.apiserver.paths import Target
from autoscaler.embedded.apiserver.resources import PODS, Json, Value
from autoscaler.embedded.apiserver.store import Store
from autoscaler.embedded.apiserver.streaming import LONGEST_S, Feed, WatchResponse

LARGEST_BODY_BYTES = 3 * 1024 * 1024  # as upstream
_HEALTH = ("/healthz", "/livez", "/readyz")


def as_response(body: Json, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Write an object as JSON."""
    content = json.dumps(body, separators=(",", ":")) + "\n"
    return Response(content, code, headers, media_type="application/json")


def as_refusal(refusal: ApiError) -> Response:
    """Write a refusal as its Status."""
    wait = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    return as_response(refusal.as_status(), refusal.code, wait)


class Api:
    """The API over one store, as an ASGI application."""

    def __init__(self, store: Store, feed: Feed, faults: Faults, token: str = "") -> None:
        self._store = store
        self._feed = feed
        self._faults = faults
        self._token = token
        self._verbs: dict[str, Callable[[Target, Request, Value], Response]] = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        response: ASGIApp
        try:
            response = await self._answer(request)
        except ApiError as refusal:
            response = as_refusal(refusal)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        path = request.url.path
        if path in _HEALTH:
            return PlainTextResponse("ok")
        if self._token and request.headers.get("authorization") != f"Bearer {self._token}":
            raise errors.unauthorized()
        if (told := discovery.document(path, request.headers.get("host", ""))) is not None:
            if request.method != "GET":
                raise errors.method_not_allowed()
            return as_response(told)
        target = paths.parse(request.method, path, request.query_params)
        delay_s, refusal = self._faults.take(target.verb, target.resource.plural)
        if delay_s:
            await asyncio.sleep(delay_s)
        if refusal:
            raise refusal
        _check_accept(request)
        if target.verb == "watch":
            return self._watch(target, request)
        if request.query_params.get("dryRun"):
            raise errors.bad_request("dryRun is not supported by this server")
        return self._verbs[target.verb](target, request, await _read_body(request))

    def _get(self, target: Target, request: Request, _: Value) -> Response:
        item = self._store.get(target.resource, target.namespace, target.name)
        if target.subresource == "scale":
            return as_response(subresources.scale_of(item))
        if _wants_table(request):
            about = {"resourceVersion": item["metadata"]["resourceVersion"]}
            return as_response(tables.render(target.resource, [item], about, self._store.now_s()))
        return as_response(item)

    def _list(self, target: Target, request: Request, _: Value) -> Response:
        selection = listing.parse_selection(target, request.query_params)
        items, about = listing.page(self._store, selection, request.query_params)
        if _wants_table(request):
            return as_response(tables.render(target.resource, items, about, self._store.now_s()))
        return as_response(_as_list(target, items, about))

    def _watch(self, target: Target, request: Request) -> WatchResponse:
        query, resource = request.query_params, target.resource
        selection = listing.parse_selection(target, query)
        wants_table = _wants_table(request)

        def render(item: Json, is_first: bool) -> Json:
            about = {"resourceVersion": item["metadata"]["resourceVersion"]}
            now_s = self._store.now_s()
            return tables.render(resource, [item], about, now_s, headings=is_first) if wants_table else item

        return WatchResponse(
            store=self._store,
            feed=self._feed,
            selection=selection,
            opening=listing.open_watch(self._store, selection, query),
            render=render,
            bookmarks=query.get("allowWatchBookmarks", "").lower() in ("true", "1"),
            timeout_s=listing.parse_count(query, "timeoutSeconds") or LONGEST_S,
            drop_after=self._faults.watch_limit(),
        )

    def _create(self, target: Target, _: Request, body: Value) -> Response:
        if target.subresource == "binding":
            return as_response(subresources.bind(self._store, target.namespace, target.name, body), 201)
        if target.subresource == "eviction":
            return as_response(subresources.evict(self._store, target.namespace, target.name, body), 201)
        return as_response(self._store.create(target.resource, target.namespace, body), 201)

    def _update(self, target: Target, _: Request, body: Value) -> Response:
        if target.resource.needs_version_on_replace and not selectors.at(body, "metadata.resourceVersion"):
            fault = errors.wrong("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(target.resource, target.name, [fault])
        if target.subresource == "scale":
            return self._rescale(target, lambda _scale: body)
        return self._change(target, lambda _old: body)

    def _patch(self, target: Target, request: Request, patch: Value) -> Response:
        content_type = _content_type(request)
        if target.subresource == "scale":
            return self._rescale(target, lambda scale: patches.apply(content_type, scale, patch))
        return self._change(target, lambda old: patches.apply(content_type, old, patch))

    def _change(self, target: Target, change: Callable[[Json], Json]) -> Response:
        part: Part = "status" if target.subresource == "status" else "spec"
        return as_response(self._store.update(target.resource, target.namespace, target.name, change, part=part))

    def _rescale(self, target: Target, change: Callable[[Json], Json]) -> Response:
        def rescaled(old: Json) -> Json:
            return subresources.with_scale(old, change(subresources.scale_of(old)))

        scaled = self._store.update(target.resource, target.namespace, target.name, rescaled)
        return as_response(subresources.scale_of(scaled))

    def _delete(self, target: Target, request: Request, body: Value) -> Response:
        options = deletion.parse_options(dict(request.query_params), body)
        item, is_gone = deletion.delete(self._store, target.resource, target.namespace, target.name, options)
        if is_gone and target.resource is not PODS:  # a deleted pod is answered with its last state
            return as_response(errors.success(target.resource, target.name, item["metadata"]["uid"]))
        return as_response(item)

    def _delete_collection(self, target: Target, request: Request, body: Value) -> Response:
        options = deletion.parse_options(dict(request.query_params), body)
        selection = listing.parse_selection(target, request.query_params)
        items, about = listing.page(self._store, selection, {})
        for item in items:
            had = item["metadata"]
            deletion.delete(self._store, target.resource, had.get("namespace", ""), had["name"], options)
        return as_response(_as_list(target, items, about))


def _as_list(target: Target, items: list[Json], about: Json) -> Json:
    """Write a list; as upstream, its items do not repeat their kind."""
    bare = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
    kind, api_version = f"{target.resource.kind}List", target.resource.api_version
    return {"kind": kind, "apiVersion": api_version, "metadata": about, "items": bare}


def _wants_table(request: Request) -> bool:
    return "as=Table" in request.headers.get("accept", "")


def _check_accept(request: Request) -> None:
    accept = request.headers.get("accept", "*/*")
    if not any(form in accept for form in ("*/*", "application/*", "application/json")):
        raise errors.not_acceptable()


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


async def _read_body(request: Request) -> Value:
    """Read a request's JSON; absent reads as None."""
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LARGEST_BODY_BYTES:
            raise errors.too_large(LARGEST_BODY_BYTES)
    if request.method == "PATCH" and _content_type(request) not in patches.ACCEPTED:
        raise errors.unsupported_media_type(_content_type(request), patches.ACCEPTED)
    if not raw:
        return None
    if request.method != "PATCH" and _content_type(request) not in ("", "application/json", "*/*"):
        raise errors.unsupported_media_type(_content_type(request), ("application/json",))
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as fault:
        raise errors.bad_request(f"couldn't decode the body of the request: {fault}") from fault
