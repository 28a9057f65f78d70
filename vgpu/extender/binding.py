"""The steps of binding a pod and of comparing the books with the API server, apart from whoever performs them.

Each is a generator: it yields a `Call`, is sent the answer or has the failure thrown in, and returns its result. It
runs under the desk's lock between two calls and never during one, so no call to the API holds anybody else up. A test
sends and throws what it likes, in any order.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vgpu.adapters.kube_errors import Conflict, NotFound, Unavailable
from vgpu.core import allocation, request
from vgpu.core.hold import Difference, Hold
from vgpu.core.request import RequestRefused
from vgpu.extender.desk import Desk
from vgpu.extender.wire import BindRequest

Json = Mapping[str, Any]
Clock = Callable[[], float]

# Between the two lists of a comparison: a watch delivers within milliseconds, and what it has not delivered by then is
# no delay any more.
LOOK_AGAIN_AFTER_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPod:
    """Answered by the pod."""

    name: str
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteBinding:
    """Answered by nothing. Only to be sent while leading: see `vgpu.extender.leadership`."""

    name: str
    namespace: str
    uid: str
    node: str
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPods:
    """Answered by all pods, each with what it holds or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Answered by nothing, later."""

    for_s: float


Call = ReadPod | WriteBinding | ListPods | Wait
Answer = Any
Listed = Sequence[tuple[Json, Hold | None]]


def bind(desk: Desk, asked: BindRequest, clock: Clock) -> Generator[Call, Answer, str]:
    """Bind a pod where it was promised a place; return why not, empty where it is bound."""
    if asked.uid in desk.sending:
        return f"pod {asked.namespace}/{asked.name}: its former Binding is still under way"
    desk.sending.add(asked.uid)
    try:
        hold = desk.begin(asked.uid, asked.node, clock())
        if hold is not None:
            return (yield from _write(desk, asked, hold, clock))
        return (yield from _bind_anew(desk, asked, clock))
    finally:
        desk.sending.discard(asked.uid)


def _bind_anew(desk: Desk, asked: BindRequest, clock: Clock) -> Generator[Call, Answer, str]:
    try:
        pod = yield ReadPod(name=asked.name, namespace=asked.namespace)
    except (NotFound, Unavailable) as fault:
        return str(fault)
    if pod["metadata"].get("uid") != asked.uid:
        return _replaced(asked)
    if pod["spec"].get("nodeName"):
        return _already_bound(desk, asked, pod, clock)
    try:
        parsed = request.parse_request(pod)
    except RequestRefused as refusal:
        return str(refusal)
    hold = desk.begin_anew(parsed, asked.node, clock())
    return hold if isinstance(hold, str) else (yield from _write(desk, asked, hold, clock))


def _write(desk: Desk, asked: BindRequest, hold: Hold, clock: Clock) -> Generator[Call, Answer, str]:
    annotations = allocation.annotations(hold.allocation) if hold.allocation else {}
    try:
        yield WriteBinding(
            name=asked.name, namespace=asked.namespace, uid=asked.uid, node=asked.node, annotations=annotations
        )
    except (Conflict, NotFound) as fault:
        return (yield from _settle(desk, asked, clock, str(fault), is_final=True))
    except Unavailable as fault:  # perhaps written, perhaps not, perhaps only later
        return (yield from _settle(desk, asked, clock, str(fault), is_final=False))
    desk.ledger.confirm(asked.uid, clock())
    return ""


def _settle(desk: Desk, asked: BindRequest, clock: Clock, why: str, *, is_final: bool) -> Generator[Call, Answer, str]:
    """Look once what became of a Binding that failed; what nobody can tell yet stays held until its deadline."""
    try:
        pod = yield ReadPod(name=asked.name, namespace=asked.namespace)
    except NotFound:
        desk.ledger.fail(asked.uid)
        return why
    except Unavailable as fault:
        return f"{why}; then {fault}"
    if pod["metadata"].get("uid") != asked.uid:
        desk.ledger.fail(asked.uid)
        return _replaced(asked)
    if pod["spec"].get("nodeName"):
        return _already_bound(desk, asked, pod, clock)
    if is_final:
        desk.ledger.fail(asked.uid)
    return why


def _already_bound(desk: Desk, asked: BindRequest, pod: Json, clock: Clock) -> str:
    desk.see_pod(pod, clock())
    node = pod["spec"]["nodeName"]
    return "" if node == asked.node else f"pod {asked.namespace}/{asked.name} is on node {node} already"


def _replaced(asked: BindRequest) -> str:
    return f"pod {asked.namespace}/{asked.name} is another one by now: its uid is no longer {asked.uid}"


def expire(desk: Desk, clock: Clock) -> Generator[Call, Answer, None]:
    """Drop promises whose time is over, and look what became of Bindings that nobody heard of again."""
    for hold in desk.ledger.expire(clock()):
        if hold.uid in desk.sending:
            continue
        namespace, _, name = hold.pod.partition("/")
        try:
            pod = yield ReadPod(name=name, namespace=namespace)
        except NotFound:
            desk.ledger.fail(hold.uid)
            continue
        except Unavailable:
            continue
        if pod["metadata"].get("uid") == hold.uid and pod["spec"].get("nodeName"):
            desk.see_pod(pod, clock())
        elif hold.uid not in desk.sending:  # tried again meanwhile
            desk.ledger.fail(hold.uid)


def reconcile(desk: Desk, clock: Clock) -> Generator[Call, Answer, tuple[Difference, ...]]:
    """Compare with all pods, twice where they differ, and let the API server be right. Raise Unavailable.

    Return what differed both times alike: that was no delay of a watch but an error in the books.
    """
    first = yield from _compare(desk)
    if not first:
        return ()
    yield Wait(for_s=LOOK_AGAIN_AFTER_S)
    again = yield from rebuild(desk, clock)
    return tuple(difference for difference in again if difference in first)


def rebuild(desk: Desk, clock: Clock) -> Generator[Call, Answer, tuple[Difference, ...]]:
    """Compare with all pods and let the API server be right; return what differed. Raise Unavailable."""
    since = desk.ledger.sequence
    listed: Listed = yield ListPods()
    differences = desk.ledger.differences((hold for _, hold in listed if hold), since=since)
    pods = {pod["metadata"].get("uid"): pod for pod, _ in listed}
    for uid in desk.ledger.unlisted(
        pods, since=since
    ):  # also where its Binding is under way: the answer comes too late
        desk.end(uid)
    for difference in differences:
        if difference.uid in pods:
            desk.see_pod(pods[difference.uid], clock())
    return differences


def _compare(desk: Desk) -> Generator[Call, Answer, tuple[Difference, ...]]:
    since = desk.ledger.sequence
    listed: Listed = yield ListPods()
    return desk.ledger.differences((hold for _, hold in listed if hold), since=since)
