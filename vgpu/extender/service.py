"""Answers the scheduler: one lock around each decision, none around a call to the API."""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from vgpu.adapters.kube_errors import Conflict, NotFound, Unavailable
from vgpu.adapters.kube_verbs import PODS, Event, Subject, Verbs
from vgpu.core import request
from vgpu.core.assignment import assign
from vgpu.core.hold import Hold, hold_of
from vgpu.core.request import PodRequest, RequestRefused
from vgpu.extender import binding, wire
from vgpu.extender.binding import Answer, Call, ListPods, ReadPod, Wait, WriteBinding
from vgpu.extender.desk import Busy, Desk, whole_refusal
from vgpu.extender.metrics import Outcome, Tally
from vgpu.extender.readiness import Readiness
from vgpu.extender.wire import BindRequest, FilterRequest, PreemptRequest

Result = TypeVar("Result")

COMPONENT = "vgpu-extender"
REFUSED = "FractionRefused"


class Extender:
    """The verbs of the protocol. Safe for several threads."""

    def __init__(
        self,
        desk: Desk,
        cluster: Verbs,
        *,
        readiness: Readiness,
        tally: Tally,
        tell: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tell` takes an Event for a pod; it must not wait."""
        self.desk, self.readiness, self.tally = desk, readiness, tally
        self.lock = threading.Lock()
        self.is_relisted = False  # a watch of pods had a gap, and the ledger was not compared since
        self._cluster, self._tell, self._clock = cluster, tell, clock
        self._holds: dict[str, tuple[str, Hold | None]] = {}

    # The verbs.

    def filter(self, asked: FilterRequest) -> bytes:
        """Choose a node and promise it; answer with that node alone. A pod that asks for no GPU may go anywhere."""
        if why := self.readiness.why_not():
            self.tally.count(Outcome.NOT_READY)
            return wire.render_filter_error(f"{COMPONENT} is not ready: {why}")
        try:
            parsed = request.parse_request(asked.pod)
        except RequestRefused as refusal:
            self.tally.count(Outcome.BAD_REQUEST)
            self.complain(asked.pod, str(refusal))
            return wire.render_filter(asked, (), hopeless=dict.fromkeys(asked.names, str(refusal)))
        if not parsed.asks:
            return self._filter_without_units(asked, parsed)
        try:
            with self.lock:
                decision = self.desk.decide(parsed, asked.names, self._clock())
        except Busy as busy:
            self.tally.count(Outcome.BUSY)
            return wire.render_filter_error(str(busy))
        if decision.hold is None:
            self.tally.count(Outcome.NO_ROOM)
            return wire.render_filter(asked, (), short=decision.short, hopeless=decision.hopeless)
        self.tally.count(Outcome.PLACED)
        return wire.render_filter(asked, (decision.hold.node,))

    def _filter_without_units(self, asked: FilterRequest, parsed: PodRequest) -> bytes:
        if not parsed.whole_gpus:
            return wire.render_filter(asked, asked.names)
        with self.lock:
            shared = {name: whole_refusal(name) for name in asked.names if self.desk.ledger.is_shared(name)}
        return wire.render_filter(asked, [name for name in asked.names if name not in shared], short=shared)

    def prioritize(self, asked: FilterRequest) -> bytes:
        """Score the node that was promised 10 and all others 0; without a promise, in proportion to our own score."""
        try:
            parsed = request.parse_request(asked.pod)
        except RequestRefused:
            return wire.render_scores(dict.fromkeys(asked.names, 0))
        if not parsed.asks:
            return wire.render_scores(dict.fromkeys(asked.names, 0))
        with self.lock:
            entry = self.desk.ledger.entries.get(parsed.uid)
            found = (
                {} if entry else {name: choice.score for name, choice in self.desk.scores(parsed, asked.names).items()}
            )
        if entry is not None:
            return wire.render_scores({name: wire.MOST_SCORE * (name == entry.hold.node) for name in asked.names})
        least, most = min(found.values(), default=0.0), max(found.values(), default=0.0)
        span = most - least
        return wire.render_scores(
            {
                name: round(wire.MOST_SCORE * (found[name] - least) / span) if span and name in found else 0
                for name in asked.names
            }
        )

    def bind(self, asked: BindRequest) -> str:
        """Write the Binding; return why not, empty where the pod is bound."""
        if why := self.readiness.why_not():
            self.tally.count(Outcome.NOT_READY)
            return f"{COMPONENT} is not ready: {why}"
        why = self.run(binding.bind(self.desk, asked, self._clock))
        self.tally.count(Outcome.BIND_FAILED if why else Outcome.BOUND)
        return why

    def preempt(self, asked: PreemptRequest) -> bytes:
        """Keep the nodes on which the pod would fit once their victims are gone; choose no other victims."""
        try:
            parsed = request.parse_request(asked.pod)
        except RequestRefused:
            return wire.render_preempt({})
        if not parsed.asks:
            return wire.render_preempt(asked.victims)
        with self.lock:
            kept = {node: given for node, given in asked.victims.items() if self._fits_without(parsed, node, given[0])}
        return wire.render_preempt(kept)

    def _fits_without(self, parsed: PodRequest, node: str, victims: Sequence[str]) -> bool:
        ledger = self.desk.ledger
        offer = ledger.offers.get(node)
        if offer is None or ledger.refusal(node, without=victims):
            return False
        leaving: dict[str, int] = {}
        for uid in victims:
            entry = ledger.entries.get(uid)
            if entry is not None and entry.hold.node == node:
                for key, units in ledger.units_of(entry.hold).items():
                    leaving[key] = leaving.get(key, 0) + units
        free = ledger.free_units(node)
        return (
            assign(parsed.asks, [free[gpu.index] + leaving.get(gpu.key, 0) * gpu.healthy for gpu in offer.gpus])
            is not None
        )

    # Pods that break a rule.

    def complain(self, pod: wire.Json, why: str) -> None:
        """Tell about a pod where `kubectl describe` shows it."""
        about = pod["metadata"]
        subject = Subject(
            kind="Pod", name=about["name"], namespace=about.get("namespace", ""), uid=about.get("uid", "")
        )
        self._tell(Event(subject=subject, reason=REFUSED, message=why, component=COMPONENT, is_warning=True))

    # The steps.

    def run(self, steps: Generator[Call, Answer, Result]) -> Result:
        """Perform what the steps call for: they run under the lock, the calls do not."""
        answer: Answer = None
        fault: Exception | None = None
        while True:
            try:
                with self.lock:
                    call = steps.send(answer) if fault is None else steps.throw(fault)
            except StopIteration as end:
                result: Result = end.value
                return result
            answer, fault = None, None
            try:
                answer = self._perform(call)
            except (Conflict, NotFound, Unavailable) as raised:
                fault = raised

    def _perform(self, call: Call) -> Answer:
        match call:
            case WriteBinding():
                if not self.readiness.may_write():
                    raise Conflict("POST binding", "this process leads no longer")
                self._cluster.bind_pod(
                    call.name, call.namespace, node=call.node, annotations=call.annotations, uid=call.uid
                )
            case ReadPod():
                return self._cluster.read(PODS, call.name, call.namespace)
            case ListPods():
                return self._list_pods()
            case Wait():
                time.sleep(call.for_s)
        return None

    def _list_pods(self) -> binding.Listed:
        """Read all pods; what an unchanged one holds is not worked out again: that takes 50 µs, and there are many."""
        known, listed = self._holds, []
        self._holds = {}
        for pod in self._cluster.list(PODS):
            uid, version = pod["metadata"].get("uid", ""), pod["metadata"].get("resourceVersion", "")
            kept = known.get(uid)
            hold = kept[1] if kept is not None and kept[0] == version else hold_of(pod)
            self._holds[uid] = (version, hold)
            listed.append((pod, hold))
        return listed
