"""Answers HTTP requests from the store: what the verb is, what the client may send, in which form it gets the answer.

Everything runs on one event loop and no request waits between reading and writing the store, so every write is atomic.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from autoscaler.embedded.apiserver import (
    applying,
    attributes,
    deletion,
    discovery,
    errors,
    escalation,
    first_roles,
    listing,
    ownership,
    patches,
    paths,
    protobuf,
    selectors,
    subresources,
    tables,
)
from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.audit import Audit
from autoscaler.embedded.apiserver.authentication import Authenticator
from autoscaler.embedded.apiserver.authorization import Authorizer
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.faults import Faults
from autoscaler.embedded.apiserver.identity import User
from autoscaler.embedded.apiserver.metadata import Part
from autoscaler.embedded.apiserver.paths import Target
from autoscaler.embedded.apiserver.resources import PODS, Json, Value
from autoscaler.embedded.apiserver.reviews import Reviews
from autoscaler.embedded.apiserver.store import Store, Track
from autoscaler.embedded.apiserver.streaming import LONGEST_S, Feed, WatchResponse
from autoscaler.embedded.apiserver.tokens import Tokens

LARGEST_BODY_BYTES = 3 * 1024 * 1024  # as upstream
AUDIT_PATH = "/audit"
_HEALTH = ("/healthz", "/livez", "/readyz")


def as_response(body: Json, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Write an object as JSON."""
    content = json.dumps(body, separators=(",", ":")) + "\n"
    return Response(content, code, headers, media_type="application/json")


def as_refusal(refusal: ApiError) -> Response:
    """Write a refusal as its Status."""
    wait = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    return as_response(refusal.as_status(), refusal.code, wait)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who asks, what they may, and what they may ask about that."""

    authenticator: Authenticator
    authorizer: Authorizer
    reviews: Reviews


def access(store: Store, randomness: random.Random, token: str) -> Access:
    """Set up access to a store; it gets the roles a cluster starts with."""
    authorizer, tokens = Authorizer(store), Tokens(store, randomness)
    first_roles.add(store)
    return Access(
        authenticator=Authenticator(token, tokens, authorizer),
        authorizer=authorizer,
        reviews=Reviews(authorizer=authorizer, tokens=tokens),
    )


class Api:
    """The API over one store, as an ASGI application."""

    def __init__(self, store: Store, feed: Feed, access: Access, faults: Faults, audit: Audit) -> None:
        self._store = store
        self._feed = feed
        self._access = access
        self._faults = faults
        self._audit = audit
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
        asked = attributes.parse(request.method, request.url.path, request.query_params)
        user = ""
        response: Response | WatchResponse
        try:
            if request.url.path in _HEALTH:
                response = PlainTextResponse("ok")
            else:
                scope["user"] = sender = self._access.authenticator.user(request.headers)
                user = sender.name
                response = await self._answer(request, sender, asked)
        except ApiError as refusal:
            response = as_refusal(refusal)
        except ClientDisconnect:
            return
        if request.url.path not in _HEALTH:
            self._audit.add(user, asked, response.status_code)
        await response(scope, receive, send)

    async def _answer(self, request: Request, user: User, asked: Attributes) -> Response | WatchResponse:
        self._access.authorizer.check(user, asked)
        path = request.url.path
        told = discovery.document(path, request.headers.get("host", ""))
        if path == AUDIT_PATH:
            told = self._audit.as_json()
        if told is not None:
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
        body = await _read_body(request)
        # Nothing waits from here on, so a rehearsal is of this request alone.
        with self._store.rehearsal() if _is_dry_run(target, request, body) else nullcontext():
            return self._verbs[target.verb](target, request, body)

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

    def _create(self, target: Target, request: Request, body: Value) -> Response:
        if not target.resource.is_stored:
            return as_response(self._access.reviews.answer(target.resource, request.user, body), 201)
        if target.subresource == "token":
            now_s = self._store.now_s()
            return as_response(self._access.reviews.issue(target.namespace, target.name, body, now_s), 201)
        if target.subresource == "binding":
            return as_response(subresources.bind(self._store, target.namespace, target.name, body), 201)
        if target.subresource == "eviction":
            return as_response(subresources.evict(self._store, target.namespace, target.name, body), 201)
        escalation.check(self._access.authorizer, request.user, target.resource, target.namespace, body)
        return as_response(self._store.create(target.resource, target.namespace, body), 201)

    def _update(self, target: Target, request: Request, body: Value) -> Response:
        if target.resource.needs_version_on_replace and not selectors.at(body, "metadata.resourceVersion"):
            fault = errors.wrong("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(target.resource, target.name, [fault])
        if target.subresource == "scale":
            return self._rescale(target, request, lambda _scale: body)
        return self._change(target, request, lambda _old: body)

    def _patch(self, target: Target, request: Request, patch: Value) -> Response:
        content_type = _content_type(request)
        if content_type == patches.APPLY and target.subresource != "scale":
            return self._apply(target, request, patch)
        if target.resource.is_custom and content_type not in patches.ACCEPTED_BY_CUSTOM:
            raise errors.unsupported_media_type(content_type, patches.ACCEPTED_BY_CUSTOM)
        if target.subresource == "scale":
            return self._rescale(target, request, lambda scale: patches.apply(content_type, scale, patch))
        return self._change(target, request, lambda old: patches.apply(content_type, old, patch))

    def _change(
        self, target: Target, request: Request, change: Callable[[Json], Json], track: Track | None = None
    ) -> Response:
        part: Part = "status" if target.subresource == "status" else "spec"

        def changed(old: Json) -> Json:
            new = change(old)
            escalation.check(self._access.authorizer, request.user, target.resource, target.namespace, new)
            return new

        where = (target.resource, target.namespace, target.name)
        track = track or self._plain_track(target, request)
        return as_response(self._store.update(*where, changed, part=part, track=track))

    def _plain_track(self, target: Target, request: Request) -> Track:
        return partial(self._store.plain_track, target.resource, _writer(request), target.subresource)

    def _apply(self, target: Target, request: Request, sent: Value) -> Response:
        """Apply a client's part of an object, which is made where it is not there yet."""
        manager, force = applying.check(sent, target.name, request.query_params)
        resource, keys = target.resource, ownership.keys_of(target.resource)
        applier = self._store.owner(resource, manager, "Apply", target.subresource)
        part = {key: value for key, value in sent.items() if (key == "status") <= bool(target.subresource)}
        if not target.subresource and not self._store.has(resource, target.namespace, target.name):
            asked = attributes.parse("POST", request.url.path.rpartition("/")[0], {})
            self._access.authorizer.check(request.user, asked)
            escalation.check(self._access.authorizer, request.user, resource, target.namespace, part)
            owners = applying.first(part, applier, keys)
            return as_response(self._store.create(resource, target.namespace, part, owners=owners), 201)
        live = self._store.get(resource, target.namespace, target.name)
        applied = applying.apply(live, part, applier, keys, force=force)
        return self._change(target, request, lambda _: applied.item, lambda *_: applied.owners)

    def _rescale(self, target: Target, request: Request, change: Callable[[Json], Json]) -> Response:
        def rescaled(old: Json) -> Json:
            return subresources.with_scale(old, change(subresources.scale_of(old)))

        where, track = (target.resource, target.namespace, target.name), self._plain_track(target, request)
        scaled = self._store.update(*where, rescaled, track=track)
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


def _writer(request: Request) -> str:
    """Name the client that writes, as who owns what it writes."""
    agent = request.headers.get("user-agent", "").partition("/")[0]
    return request.query_params.get("fieldManager") or agent or "unknown"


def _is_dry_run(target: Target, request: Request, body: Value) -> bool:
    """Read whether to change nothing, from the query, or from the options of a deletion."""
    asked: list[Value] = list(request.query_params.getlist("dryRun"))
    if request.method == "DELETE" and isinstance(body, dict):
        options = body.get("dryRun") or []
        asked += options if isinstance(options, list) else [options]
    if any(word != "All" for word in asked) or (asked and target.subresource == "token"):
        raise errors.bad_request(f'dryRun: Invalid value: {asked}: supported values: "All", and none for a token')
    return bool(asked)


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
    if request.method != "PATCH" and _content_type(request) == protobuf.MEDIA_TYPE:
        return protobuf.decode(raw)
    if request.method != "PATCH" and _content_type(request) not in ("", "application/json", "*/*"):
        raise errors.unsupported_media_type(_content_type(request), ("application/json",))
    try:
        if _content_type(request) == patches.APPLY:
            return applying.load(raw)
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as fault:
        raise errors.bad_request(f"couldn't decode the body of the request: {fault}") from fault
