"""Decides which node and GPUs a pod gets, and keeps the books while pods and nodes come and go.

Rule: nothing here talks to anybody, reads a clock or takes a lock; who does, holds one lock around each call.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import randrange
from typing import Any

from vgpu.core import allocation, assignment, names, request
from vgpu.core.fractions.board import Board, Choice
from vgpu.core.fractions.host import Host
from vgpu.core.fractions.policies import DEFAULT_POLICY, POLICIES
from vgpu.core.fractions.shape import Shape
from vgpu.core.hold import Hold, State, hold_of, is_finished, plain_hold
from vgpu.core.ledger import UNKNOWN, Ledger
from vgpu.core.offer import parse_offer
from vgpu.core.request import Ask, PodRequest, RequestRefused

Json = Mapping[str, Any]

# Uids of pods that arrived and that ended, the latest: one that is asked for again is no new arrival, and a picture of
# an ended one, read before its end and heard of after it, must not bring it back.
_REMEMBERED_UIDS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where a pod goes, or why not: by node, and apart where no pod's leaving would help."""

    hold: Hold | None = None
    short: Mapping[str, str] = field(default_factory=dict)
    hopeless: Mapping[str, str] = field(default_factory=dict)


class Busy(Exception):
    """A pod can go nowhere now: its former Binding is not settled, or it has ended."""


class Desk:
    """One ledger, one board."""

    def __init__(self, policy: str = DEFAULT_POLICY) -> None:
        if policy not in POLICIES:
            raise ValueError(f"policy {policy!r} is not known; one of {', '.join(sorted(POLICIES))}")
        self.policy = policy
        self.ledger = Ledger()
        self.board = Board(POLICIES[policy], draw=randrange if POLICIES[policy].draws else None)
        self.sending: set[str] = set()  # uids whose Binding is being sent or settled now
        self._hosts: dict[str, Host] = {}  # as the board has them
        self._closed: dict[str, str] = {}  # why the other nodes take no fractions
        self._arrived: dict[str, None] = {}
        self._arrivals: Counter[Shape] = Counter()
        self._ended: dict[str, None] = {}

    def books(self) -> tuple[Ledger, Counter[Shape]]:
        """Copy what a trial of its own needs; see `trial`."""
        return self.ledger.copy(), self._arrivals.copy()

    @classmethod
    def trial(cls, policy: str, books: tuple[Ledger, Counter[Shape]]) -> "Desk":
        """A desk with copied books, to try things on; it knows the same demand."""
        desk = cls(policy)
        desk.ledger, desk._arrivals = books
        for shape, count in desk._arrivals.items():
            for _ in range(count):
                desk.board.arrived(shape)
        return desk

    # What is seen.

    def see_node(self, node: Json) -> None:
        """A node is there, or has changed."""
        self.ledger.offer(parse_offer(node))

    def lose_node(self, name: str) -> None:
        """A node is no more."""
        self.ledger.withdraw(name)

    def see_pod(self, pod: Json, now_s: float) -> str:
        """A pod is there, or has changed. Return what is wrong with what it holds, empty where nothing is."""
        uid = str(pod["metadata"].get("uid") or "")
        if uid in self._ended:
            self.ledger.gone(uid)  # promised again since, by a scheduler that had not heard
            return ""
        if is_finished(pod):
            self.end(uid)
            return ""
        hold = hold_of(pod)
        if hold is None:
            return _refusal(pod)
        if hold.allocation is not None and uid not in self.ledger.entries:
            self._arrive(request.parse_request(pod))
        return self.ledger.observe(hold, now_s)

    def lose_pod(self, pod: Json) -> None:
        """A pod is no more."""
        self.end(str(pod["metadata"].get("uid") or ""))

    def end(self, uid: str) -> None:
        """A pod has ended or is no more: it holds nothing and never will again."""
        self.ledger.gone(uid)
        _remember(self._ended, uid)

    # What is decided.

    def decide(self, asked: PodRequest, nodes: Sequence[str], now_s: float) -> Decision:
        """Choose among nodes and promise it; a former promise is replaced. Raise Busy."""
        entry = self.ledger.entries.get(asked.uid)
        if asked.uid in self._ended:
            raise Busy(f"pod {asked.pod} has ended")
        if entry is not None and entry.state is not State.ASSUMED:
            if entry.hold.node in nodes:
                return Decision(hold=entry.hold)
            raise Busy(
                f"pod {asked.pod} is {entry.state} to node {entry.hold.node}, which is not among the nodes asked"
            )
        self.ledger.gone(asked.uid)
        self._arrive(asked)
        hold = self.propose(asked, nodes)
        if hold is None:
            return self.reasons(asked, nodes)
        self.ledger.assume(hold, now_s)
        return Decision(hold=hold)

    def propose(self, asked: PodRequest, nodes: Collection[str] | None) -> Hold | None:
        """Choose among nodes, all if None; promise nothing."""
        self._refresh()
        shape = shape_of(asked)
        if (alone := _gpus_of_one(asked)) is not None:
            choice = self.board.choose(shape, nodes)
            if choice is None:
                return None
            return self._hold(asked, choice.host, [choice.gpus[:count] for count in alone])
        assigner = assignment.Assigner(asked.asks)
        for choice in self.board.score(shape, nodes).values():  # best first, in the policy's own order
            found = assigner.assign(self.ledger.free_units(choice.host))
            if found is not None:
                return self._hold(asked, choice.host, found.gpus)
        return None

    def begin(self, uid: str, node: str, now_s: float) -> Hold | None:
        """A Binding is about to be sent for what was promised; None where nothing is promised on that node."""
        entry = self.ledger.entries.get(uid)
        if entry is None or entry.state is State.BOUND or entry.hold.node != node:
            return None
        # Everything that could take the promised units went through the ledger, so nothing is left to check but what
        # the node itself says by now. One that is binding is not released here: its first write may have happened.
        is_sound = self.ledger.is_sound(entry.hold)
        if entry.state is State.ASSUMED:
            if not is_sound or self.ledger.refusal(node):
                self.ledger.gone(uid)
                return None
            self.ledger.begin(uid, now_s)
        return entry.hold if is_sound else None

    def begin_anew(self, asked: PodRequest, node: str, now_s: float) -> Hold | str:
        """As `begin`, for a pod without a promise: its time has run out, or another process made it. Or say why not."""
        entry = self.ledger.entries.get(asked.uid)
        if asked.uid in self._ended:
            return f"pod {asked.pod} has ended"
        if entry is not None and entry.state is not State.ASSUMED:
            return f"pod {asked.pod} is {entry.state} to node {entry.hold.node}"
        if not asked.asks:
            return self._begin_without_units(asked, node, now_s)
        self.ledger.gone(asked.uid)
        hold = self.propose(asked, (node,))
        if hold is None:
            why = self.reasons(asked, (node,))
            return f"node {node}: {why.short.get(node) or why.hopeless.get(node)}"
        self.ledger.assume(hold, now_s)
        self.ledger.begin(asked.uid, now_s)
        return hold

    def _begin_without_units(self, asked: PodRequest, node: str, now_s: float) -> Hold | str:
        if asked.whole_gpus and self.ledger.is_shared(node):
            return whole_refusal(node)
        hold = plain_hold(asked, node)
        self.ledger.assume(hold, now_s)
        self.ledger.begin(asked.uid, now_s)
        return hold

    # Why.

    def reasons(self, asked: PodRequest, nodes: Iterable[str]) -> Decision:
        """Say for each node why a pod that fits nowhere does not fit there."""
        self._refresh()
        short: dict[str, str] = {}
        hopeless: dict[str, str] = {}
        known: dict[tuple[object, ...], str] = {}  # thousands of nodes, some hundred states
        for node in nodes:
            host = self._hosts.get(node)
            if host is None:
                offer = self.ledger.offers.get(node)
                (hopeless if offer is not None and offer.refusal else short)[node] = self._closed.get(node, UNKNOWN)
                continue
            is_small = host.cpu_milli < asked.cpu_milli or host.memory_mib < asked.memory_mib
            state = (host.free_units, host.model, is_small)
            if state not in known:
                known[state] = _shortage(host, asked, is_small=is_small)
            short[node] = known[state]
        return Decision(short=short, hopeless=hopeless)

    def scores(self, asked: PodRequest, nodes: Collection[str] | None) -> Mapping[str, Choice]:
        """Score where the pod's largest container fits; promise nothing."""
        self._refresh()
        return self.board.score(shape_of(asked), nodes)

    # Arithmetic.

    def _refresh(self) -> None:
        for node in self.ledger.changed:
            why = self.ledger.refusal(node)
            if not why:
                try:
                    host = self.host(node)
                    self.board.put(host)
                except ValueError as fault:  # one impossible node must not keep the others from being decided about
                    why = str(fault)
            if why:
                self._hosts.pop(node, None)
                self._closed[node] = why
                self.board.drop(node)
            else:
                self._hosts[node] = host
                self._closed.pop(node, None)
            self.ledger.settle(node)

    def host(self, node: str) -> Host:
        """A node as the board sees it."""
        cpu_milli, memory_mib = self.ledger.free_cpu_memory(node)
        return Host(
            name=node,
            cpu_milli=cpu_milli,
            memory_mib=memory_mib,
            free_units=self.ledger.free_units(node),
            model=self.ledger.offers[node].model,
            kinds=frozenset(_kind(hold) for hold in self.ledger.holds(node) if hold.kept_units),
        )

    def _hold(self, asked: PodRequest, node: str, gpus: Sequence[Sequence[int]]) -> Hold:
        return Hold(
            uid=asked.uid,
            pod=asked.pod,
            node=node,
            allocation=allocation.allocate(asked, self.ledger.offers[node], gpus),
            cpu_milli=asked.cpu_milli,
            memory_mib=asked.memory_mib,
        )

    def _arrive(self, asked: PodRequest) -> None:
        if asked.asks and asked.uid not in self._arrived:
            _remember(self._arrived, asked.uid)
            self._arrivals[shape_of(asked)] += 1
            self.board.arrived(shape_of(asked))


def _shortage(host: Host, asked: PodRequest, *, is_small: bool) -> str:
    largest = _largest(asked.asks)
    enough = sum(units >= largest.units for units in host.free_units)
    if enough < largest.gpus:
        return f"{enough} of {len(host.free_units)} GPUs have {largest.units} units free, {largest.gpus} needed"
    if is_small:
        return "not enough free CPU or memory"
    if asked.models and host.model not in asked.models:
        return "another GPU model"
    return "its containers do not fit together on the GPUs' free units"


def _kind(hold: Hold) -> int:
    """The `Shape.kind` of a pod that has units: that of its largest container."""
    grants = hold.allocation.grants if hold.allocation else ()
    gpus, units = max(((len(grant.gpus), grant.units) for grant in grants), default=(1, 1))
    return Shape(cpu_milli=0, memory_mib=0, gpus=gpus, units=units).kind


def _remember(uids: dict[str, None], uid: str) -> None:
    uids[uid] = None
    if len(uids) > _REMEMBERED_UIDS:
        del uids[next(iter(uids))]


def _refusal(pod: Json) -> str:
    try:
        request.parse_request(pod)
    except RequestRefused as refusal:
        return str(refusal)
    return ""


def whole_refusal(node: str) -> str:
    """Why a pod that asks for nvidia.com/gpu does not go to a node whose GPUs are shared."""
    return f"GPUs of node {node} are cut into {names.RESOURCE_VGPU}; {names.RESOURCE_GPU} could take one of them"


def shape_of(asked: PodRequest) -> Shape:
    """A pod as packing sees it: its largest container stands for it."""
    largest = _largest(asked.asks)
    return Shape(
        cpu_milli=asked.cpu_milli,
        memory_mib=asked.memory_mib,
        gpus=largest.gpus,
        units=largest.units,
        models=asked.models,
    )


def _largest(asks: Sequence[Ask]) -> Ask:
    return max(asks, key=lambda ask: (ask.gpus, ask.units))


def _gpus_of_one(asked: PodRequest) -> list[int] | None:
    """How many of the largest ask's GPUs each ask uses, when all can use those and nothing more is kept of them."""
    counts = [ask.gpus for ask in asked.asks]
    largest = _largest(asked.asks)
    kept = assignment.kept(asked.asks, [range(count) for count in counts])
    return counts if all(units == largest.units for units in kept.values()) else None
