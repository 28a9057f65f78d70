"""A small cluster whose every call, watch and clock is moved by the test: pods in memory, and extenders on it.

A call has three moments: it is made, the server does it, the caller hears of it. A test puts anything between them.
"""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.unit.extender import build
from vgpu.adapters.kube_errors import Conflict, NotFound, Unavailable
from vgpu.core import names, request
from vgpu.core.hold import hold_of, is_finished
from vgpu.core.offer import parse_offer, render_gpus
from vgpu.extender import binding
from vgpu.extender.binding import ListPods, ReadPod, Wait, WriteBinding
from vgpu.extender.desk import Desk
from vgpu.extender.readiness import CALL_S, LEASE_S
from vgpu.extender.wire import BindRequest

Json = dict[str, Any]


@dataclass
class Api:
    """Pods as the API server keeps them, and what a watch tells of them. Objects once told are never changed."""

    pods: dict[str, Json] = field(default_factory=dict)
    told: list[tuple[str, Json]] = field(default_factory=list)
    version: int = 1
    created: int = 0

    def create(self, pod: Json) -> Json:
        """A new pod, with a uid of its own even where the name is an old one."""
        self.created += 1
        about = pod["metadata"] | {"uid": f"uid-{self.created}"}
        return self._tell("ADDED", pod | {"metadata": about})

    def change(self, key: str, **parts: Json) -> None:
        """Merge into parts of a pod."""
        pod = self.pods[key]
        self._tell("MODIFIED", pod | {part: pod[part] | values for part, values in parts.items()})

    def delete(self, key: str) -> None:
        """The pod is gone at once."""
        self.told.append(("DELETED", self.pods.pop(key)))

    def bind(self, write: WriteBinding) -> None:
        """Do it, or raise as the API server answers."""
        key = f"{write.namespace}/{write.name}"
        if key not in self.pods:
            raise NotFound("POST binding", "no such pod")
        pod = self.pods[key]
        if pod["metadata"]["uid"] != write.uid:
            raise Conflict("POST binding", "the uid in the precondition is another")
        if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            raise Conflict("POST binding", "already assigned, or being deleted")
        self._tell("MODIFIED", build.bound(pod, write.node, dict(write.annotations)))

    def read(self, read: ReadPod) -> Json:
        """One pod."""
        if f"{read.namespace}/{read.name}" not in self.pods:
            raise NotFound("GET pod", "no such pod")
        return self.pods[f"{read.namespace}/{read.name}"]

    def unbound(self) -> list[Json]:
        return [pod for pod in self.pods.values() if not pod["spec"].get("nodeName")]

    def _tell(self, kind: str, pod: Json) -> Json:
        self.version += 1
        pod = pod | {"metadata": pod["metadata"] | {"resourceVersion": str(self.version)}}
        self.pods[request.pod_key(pod)] = pod
        self.told.append((kind, pod))
        return pod

    def held_units(self) -> dict[tuple[str, str], int]:
        """What is truly held, by node and card, under whichever name the card was granted."""
        held: dict[tuple[str, str], int] = {}
        for pod in self.pods.values():
            for key, units in hold.kept_units if (hold := hold_of(pod)) else ():
                card = (hold.node, key.replace("#", f"GPU-{hold.node}-"))
                held[card] = held.get(card, 0) + units
        return held


@dataclass
class Work:
    """A generator of steps and the call it waits for."""

    steps: Generator[Any, Any, Any]
    call: Any = None
    answer: Any = None
    fault: Exception | None = None
    is_done: bool = False  # the server has; the caller has not heard
    is_over: bool = False
    result: Any = None

    def go_on(self) -> None:
        """Hand over the answer; the next call is made, or the work is over."""
        try:
            self.call = self.steps.throw(self.fault) if self.fault else self.steps.send(self.answer)
        except StopIteration as end:
            self.is_over, self.result, self.call = True, end.value, None
        except Unavailable:  # what its thread would log; it comes again by itself
            self.is_over, self.call = True, None
        self.answer, self.fault, self.is_done = None, None, False


class Member:
    """One extender process: its desk, how far its watch has got, its work."""

    def __init__(self, world: "World") -> None:
        self.world, self.desk = world, Desk()
        self.heard = 0
        self.known: dict[str, Json] = {}
        self.works: list[Work] = []
        self.leads_until_s = -1.0
        self.is_relisted = False
        self.gaps = 0
        for node in world.nodes:
            self.desk.see_node(node)

    @property
    def may_write(self) -> bool:
        return self.world.now_s + CALL_S < self.leads_until_s

    # The watch.

    def hear(self, most: int = 10**9) -> None:
        """Some more of what the watch has to tell."""
        events = self.world.api.told[self.heard : self.heard + most]
        self.heard += len(events)
        for kind, pod in events:
            self._hear(kind, pod)

    def relist(self) -> None:
        """The version to go on from is gone (410): what there is now is compared with what was known."""
        now, self.is_relisted = self.world.api.pods, True
        self.gaps += 1
        self.heard = len(self.world.api.told)
        for key, pod in list(self.known.items()):
            if key not in now or now[key]["metadata"]["uid"] != pod["metadata"]["uid"]:
                self._hear("DELETED", pod)
        for key, pod in list(now.items()):
            if self.known.get(key) is not pod:
                self._hear("MODIFIED", pod)

    def _hear(self, kind: str, pod: Json) -> None:
        key = request.pod_key(pod)
        if kind == "DELETED":
            self.known.pop(key, None)
            self.desk.lose_pod(pod)
        else:
            self.known[key] = pod
            self.desk.see_pod(pod, self.world.now_s)

    def catch_up(self) -> None:
        """What follows a new list within seconds."""
        if self.is_relisted:
            self.finish(self.start(binding.rebuild(self.desk, self.world.clock)))
            self.is_relisted = False

    # The verbs.

    def filter(self, pod: Json, nodes: list[str] | None = None) -> str | None:
        """The node that is promised; None where there is none."""
        names = nodes or [node["metadata"]["name"] for node in self.world.nodes]
        decision = self.desk.decide(request.parse_request(pod), names, self.world.now_s)
        return decision.hold.node if decision.hold else None

    def start_bind(self, pod: Json, node: str) -> Work:
        """A Binding is asked for; its first call is made."""
        about = pod["metadata"]
        asked = BindRequest(name=about["name"], namespace=about["namespace"], uid=about["uid"], node=node)
        return self.start(binding.bind(self.desk, asked, self.world.clock))

    def start(self, steps: Generator[Any, Any, Any]) -> Work:
        work = Work(steps)
        work.go_on()
        if not work.is_over:
            self.works.append(work)
        return work

    def serve(self, work: Work) -> None:
        """The server does what was called for; the caller has not heard yet."""
        try:
            work.answer = self._serve(work.call)
        except (Conflict, NotFound, Unavailable) as fault:
            work.fault = fault
        work.is_done = True

    def _serve(self, call: Any) -> Any:
        match call:
            case WriteBinding():
                if not self.may_write:
                    raise Conflict("POST binding", "this process leads no longer")
                return self.world.api.bind(call)
            case ReadPod():
                return self.world.api.read(call)
            case ListPods():
                return [(pod, hold_of(pod)) for pod in self.world.api.pods.values()]
            case Wait():
                self.hear()  # that is what the wait is for
                return None
        raise AssertionError(call)

    def go_on(self, work: Work) -> None:
        work.go_on()
        if work.is_over:
            self.works.remove(work)

    def finish(self, work: Work) -> Any:
        """Perform all that is left of it, without trouble."""
        while not work.is_over:
            if not work.is_done:
                self.serve(work)
            self.go_on(work)
        return work.result

    # The books.

    def check_books(self) -> None:
        """No GPU is promised twice, and the sums are those of the entries."""
        sums: dict[tuple[str, str], int] = {}
        for entry in self.desk.ledger.entries.values():
            for key, units in self.desk.ledger.units_of(entry.hold).items():
                sums[entry.hold.node, key] = sums.get((entry.hold.node, key), 0) + units
        for node, offer in self.desk.ledger.offers.items():
            for gpu, free in zip(offer.gpus, self.desk.ledger.free_units(node), strict=True):
                taken = sums.get((node, gpu.key), 0)
                assert taken + free == gpu.units, (node, gpu.key, taken, free)


class World:
    """The API, the nodes, the clock, and who leads."""

    def __init__(self, *nodes: Json) -> None:
        self.api, self.nodes, self.now_s = Api(), list(nodes), 1000.0
        self.late: list[tuple[float, WriteBinding]] = []  # sent, not done yet: until when the server may still do it
        self.leader: Member | None = None

    def clock(self) -> float:
        return self.now_s

    def rename(self, name: str, *, is_named: bool) -> None:
        """A node tells its cards' UUIDs from now on, or tells them no more."""
        node = next(node for node in self.nodes if node["metadata"]["name"] == name)
        gpus = parse_offer(node).gpus
        told = tuple(replace(gpu, uuid=f"GPU-{name}-{gpu.index}" if is_named else None) for gpu in gpus)
        about = node["metadata"] | {"annotations": {names.ANNOTATION_GPUS: render_gpus(told)}}
        self.nodes[self.nodes.index(node)] = node | {"metadata": about}
        if self.leader is not None:
            self.leader.desk.see_node(node | {"metadata": about})

    def elect(self, member: Member) -> None:
        """Make a member the leader: it knows what the API server has by now."""
        member.leads_until_s = self.now_s + LEASE_S
        member.hear()
        member.finish(member.start(binding.rebuild(member.desk, self.clock)))
        self.leader = member

    def pass_time(self, seconds: float) -> None:
        """Time passes; what was sent and may be done no later is done by then."""
        self.now_s += seconds
        for until_s, write in [entry for entry in self.late if entry[0] <= self.now_s]:
            self.land((until_s, write))

    def land(self, entry: tuple[float, WriteBinding]) -> None:
        """The server does a write whose caller has given up."""
        self.late.remove(entry)
        try:
            self.api.bind(entry[1])
        except (Conflict, NotFound):
            return

    def check(self) -> None:
        """Never more units than there are, in truth and in the books."""
        for (node, gpu), units in self.api.held_units().items():
            assert units <= 1000, (node, gpu, units)
        if self.leader is not None:
            self.leader.check_books()

    def settle(self) -> None:
        """Let everything end; then the books of the leader are those of the API server, to the unit."""
        for entry in list(self.late):
            self.land(entry)
        member = self.leader
        assert member is not None
        for work in list(member.works):
            member.finish(work)
        member.hear()
        member.catch_up()
        self.now_s += 61.0
        member.finish(member.start(binding.expire(member.desk, self.clock)))
        held = self.api.held_units()
        for node, offer in member.desk.ledger.offers.items():
            free = member.desk.ledger.free_units(node)
            expected = tuple(gpu.units - held.get((node, f"GPU-{node}-{gpu.index}"), 0) for gpu in offer.gpus)
            assert free == expected, (node, free, expected)
        assert set(member.desk.ledger.entries) == {
            pod["metadata"]["uid"]
            for pod in self.api.pods.values()
            if pod["spec"].get("nodeName") and not is_finished(pod)
        }
        assert member.finish(member.start(binding.reconcile(member.desk, self.clock))) == ()
