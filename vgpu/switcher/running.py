"""The pass: follow the file, take up what is due or asked for, and give each GPU under way its turn.

Each turn runs in a thread of its own GPU's: a provider's call may hang, and then the other GPUs go on. A GPU whose turn
has not ended has no second one. Only the leader acts; the others read, so that they can answer what is going on.
"""

import logging
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace

from vgpu.adapters.kube_errors import Conflict, Unavailable
from vgpu.core.layout import Guest, SwitchPlan
from vgpu.core.switching.record import Asked, Cause, Step
from vgpu.core.switching.seen import Missing, NodeSeen
from vgpu.switcher import asking, demanding
from vgpu.switcher.asking import Coming
from vgpu.switcher.config import Config
from vgpu.switcher.demand import Patience
from vgpu.switcher.followed import Followed
from vgpu.switcher.observing import change_between
from vgpu.switcher.records import Record, name_of
from vgpu.switcher.turn import Hands, Turns

log = logging.getLogger(__name__)

HANGS_S = 300.0
"""A turn that takes longer is told of: a provider does not come back."""
REST_S = 30.0
"""How often the nodes of a GPU at rest are looked at; sooner where something is to be announced."""
DEMAND_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How everything stands after a pass: what people and metrics are told."""

    config: Config
    records: Mapping[str, Record]
    problems: Mapping[str, str] = field(default_factory=dict)
    """By GPU; under the empty name what concerns all."""
    lowest_units: Mapping[str, int] = field(default_factory=dict)
    """By GPU that is being switched: the least that the fleet offers on the way."""
    file_problems: tuple[str, ...] = ()
    leads: bool = False
    passes: int = 0
    at_s: float = 0.0
    """When the last pass ended; before the first, when there was nothing yet."""


@dataclass(slots=True)
class _Rest:
    """What was last announced for a GPU at rest, and when its nodes were looked at."""

    announced: Coming | None = None
    looked_s: float = float("-inf")


class Switcher:
    """All GPUs of one file. One thread calls `step`; any thread reads `standing`."""

    def __init__(self, file: Followed, hands: Hands, *, pool: Executor, dry_run: bool = False) -> None:
        self._file, self._hands, self._pool, self._dry_run = file, hands, pool, dry_run
        self._turns: dict[str, Turns] = {}
        self._running: dict[str, Future[str]] = {}
        self._began_s: dict[str, float] = {}
        self._rests: dict[str, _Rest] = {}
        self._patience, self._demand_s = Patience(), float("-inf")
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()
        self._standing = Standing(config=file.config, records={}, at_s=hands.now_s())
        self._records: dict[str, Record] = {}

    @property
    def standing(self) -> Standing:
        """How everything stood after the last pass."""
        with self._lock:
            return self._standing

    def step(self) -> None:
        """One pass. Raises what a turn raised that nobody foresaw: the process is to end, and begin anew."""
        now_s = self._hands.now_s()
        leads = self._hands.may_act()
        config = self._file.read(self._against)
        self._collect()  # before the records are read: what a turn wrote until now is in them
        try:
            self._records = self._hands.records.read_all(config.gpus)
        except Unavailable as fault:
            self._note("", f"nothing is known, and nothing done: {fault}")
            self._tell(config, leads=leads)
            return
        self._note("", "")
        if not leads:  # what was seen and done under a former lease is old
            self._turns.clear()
            self._rests.clear()
        if leads and not self._dry_run:
            self._lead(config, now_s)
        elif self._dry_run:
            self._would(config, now_s)
        self._tell(config, leads=leads)

    def _lead(self, config: Config, now_s: float) -> None:
        resting = [
            gpu
            for gpu, record in self._records.items()
            if not record.problem and record.under_way is None and gpu not in self._running
        ]
        for gpu in resting:
            record = self._records[gpu]
            if record.layout and (noted := asking.due(config, record, now_s)) is not None:
                self._write(noted)
        announced = asking.announced(config, self._records.values(), now_s)
        for gpu in resting:
            self._rest(config, self._records[gpu], announced.get(gpu), now_s)
        self._look_at_demand(config, now_s)
        self._take_up(config, now_s)
        for gpu in config.gpus:
            record = self._records[gpu]
            if gpu in self._running:
                self._watch(config, gpu, now_s)
            elif record.under_way is not None and not record.problem:
                turns, besides = self._turns.setdefault(gpu, Turns(self._hands)), self._besides(config, record)
                self._began_s[gpu] = now_s
                self._running[gpu] = self._pool.submit(turns.take, config, record, besides)

    def _watch(self, config: Config, gpu: str, now_s: float) -> None:
        """Tell of a turn that does not end."""
        if now_s - self._began_s[gpu] > HANGS_S:
            name = config.provider_of[gpu]
            self._note(gpu, f"provider {name} has not come back for {HANGS_S:g} s; mend it, or restart this switcher")

    def _besides(self, config: Config, record: Record) -> frozenset[str]:
        """Nodes that other switches take away: no room for this one. Of two at their check the later yields."""
        mine, found = record.under_way, set[str]()
        for gpu, other in self._records.items():
            switch = other.under_way
            if mine is None or switch is None or gpu == record.gpu:
                continue
            is_later = (switch.began_at_s, gpu) > (mine.began_at_s, record.gpu)
            change = change_between(config, gpu, switch.origin, switch.target)
            if change is not None and not (is_later and switch.step is Step.CHECK):
                found |= {guest.node for guest in (*change.leaving, *change.coming)}
        return frozenset(found)

    # At rest.

    def _rest(self, config: Config, record: Record, expected: Coming | None, now_s: float) -> None:
        """Learn the layout where nobody knows it, and announce what comes."""
        gpu, rest = record.gpu, self._rests.setdefault(record.gpu, _Rest())
        if record.layout and expected == rest.announced and abs(now_s - rest.looked_s) < REST_S:
            return
        rest.looked_s = now_s
        guests = {guest.node for name in config.layouts_of(gpu) for guest in config.guests(name, gpu) or ()}
        try:
            nodes = self._hands.cluster.nodes(guests)
            if record.layout:
                own = {guest.node for guest in config.guests(record.layout, gpu) or ()}
                self._announce(nodes, own, expected)
                rest.announced = expected
                self._note(gpu, asking.why_not(config, record, record.layout))
            else:
                self._learn(config, record, nodes)
        except Unavailable as fault:
            rest.looked_s = float("-inf")
            self._note(gpu, str(fault))

    def _announce(self, nodes: Mapping[str, NodeSeen], own: Collection[str], expected: Coming | None) -> None:
        """Cordon and mark the nodes that are to leave, and take that back from those that are no longer.

        The mark alone would keep our workers away, and the scheduler would place any other pod there until the switch.
        A node that is cordoned without our mark was so by somebody else, and is left so.
        """
        for name, node in nodes.items():
            is_expected = expected is not None and name in expected.nodes
            if not self._hands.may_act():
                raise Unavailable("announce", "another process leads")
            if expected is not None and is_expected and (node.schedulable or node.leaving):
                self._hands.cluster.give_up(name, expected.layout)
            elif node.leaving and not is_expected:
                self._hands.cluster.take_back(name, stays_cordoned=name not in own)

    def _learn(self, config: Config, record: Record, nodes: Mapping[str, NodeSeen]) -> None:
        """Work out the layout of a GPU that has no record."""
        found = in_force(config, record.gpu, nodes)
        if isinstance(found, Missing):
            if record.version is None:  # who may only change a record can say it in this one
                self._write(record)
            self._note(record.gpu, found.why)
            return
        log.info("GPU %s is in layout %s: its nodes are ready", record.gpu, found)
        self._write(replace(record, layout=found))
        self._rests[record.gpu].looked_s = float("-inf")  # marks of a former time are looked for next

    # Requests.

    def _look_at_demand(self, config: Config, now_s: float) -> None:
        if not config.on_demand.enabled or abs(now_s - self._demand_s) < DEMAND_S:
            return
        self._demand_s = now_s
        resting = [record for record in self._records.values() if record.under_way is None and record.request is None]
        for record, layout in demanding.layouts(config, resting, self._hands.observer, self._patience, now_s):
            asked = Asked(id=f"demand-{layout}-{int(now_s)}", layout=layout, cause=Cause.DEMAND, at_s=now_s)
            self._write(replace(record, request=asked))

    def _take_up(self, config: Config, now_s: float) -> None:
        under_way = sum(record.under_way is not None for record in self._records.values())
        for record in asking.next_up(self._records.values()):
            if under_way >= config.parallel or record.problem or record.gpu in self._running:
                continue
            written = self._write(asking.take_up(config, record, now_s))
            if written is None or written.switch is None or written.switch == record.switch:
                continue
            under_way += written.under_way is not None
            self._hands.moved(record.switch, written.switch)
            log.info("GPU %s: %s", record.gpu, written.switch)

    # Around.

    def _against(self, config: Config) -> list[str]:
        """What a new file must not change: what a switch under way is about."""
        found = []
        for gpu, record in self._records.items():
            switch = record.under_way
            if switch is None:
                continue
            said = switch.about or asking.about(self._file.config, gpu, switch.origin, switch.target)
            if gpu not in config.gpus or said != asking.about(config, gpu, switch.origin, switch.target):
                found.append(
                    f"GPU {gpu} is on its way from {switch.origin} to {switch.target}; change it and these once it "
                    f"has arrived"
                )
        return found

    def _would(self, config: Config, now_s: float) -> None:
        """Say once what would be begun."""
        for gpu, record in self._records.items():
            noted = asking.due(config, record, now_s) or record
            would = "" if noted.request is None else f"dry run: would take up {noted.request}"
            if would and would != self._problems.get(gpu):
                log.info("GPU %s: %s", gpu, would)
            self._note(gpu, would)

    def _collect(self) -> None:
        """Hear of the turns that have ended."""
        for gpu, turn in list(self._running.items()):
            if turn.done():
                del self._running[gpu]
                self._note(gpu, turn.result())

    def _write(self, record: Record) -> Record | None:
        """Keep a record; None where it could not be kept, and the next pass reads it anew."""
        if not self._hands.may_act():
            return None
        try:
            written = self._hands.records.write(record)
        except (Unavailable, Conflict) as fault:
            self._note(record.gpu, str(fault))
            return None
        self._records[record.gpu] = written
        return written

    def _note(self, gpu: str, problem: str) -> None:
        if problem and problem != self._problems.get(gpu):
            log.warning("%s", f"GPU {gpu}: {problem}" if gpu else problem)
        self._problems[gpu] = problem

    def _tell(self, config: Config, *, leads: bool) -> None:
        found = {gpu: said for gpu, said in self._problems.items() if said and gpu in ("", *config.gpus)}
        found |= {gpu: record.problem for gpu, record in self._records.items() if record.problem}
        lost = [
            f"gpus: {gpu} is missing, and its switch to {record.under_way.target} is under way; put it back, "
            f"or delete ConfigMap {name_of(gpu)} to have that forgotten"
            for gpu, record in self._records.items()
            if record.under_way is not None and gpu not in config.gpus
        ]
        standing = Standing(
            config=config,
            records={gpu: record for gpu, record in self._records.items() if gpu in config.gpus},
            problems=found,
            lowest_units={gpu: units for gpu in self._records if (units := self._lowest_units(gpu)) is not None},
            file_problems=(*self._file.problems, *lost),
            leads=leads,
            passes=self._standing.passes + 1,
            at_s=self._hands.now_s(),
        )
        with self._lock:
            self._standing = standing

    @property
    def is_busy(self) -> bool:
        """Whether a turn has not ended."""
        return any(not turn.done() for turn in self._running.values())

    def _lowest_units(self, gpu: str) -> int | None:
        turns = self._turns.get(gpu)
        if turns is None or self._records[gpu].under_way is None or not isinstance(turns.plan, SwitchPlan):
            return None
        return turns.plan.lowest_units


def in_force(config: Config, gpu: str, nodes: Mapping[str, NodeSeen]) -> str | Missing:
    """The one layout all of whose nodes are ready with their profile, or the one that has all others within it.

    Missing where there is none, or several: nobody is to guess which machines may be stopped.
    """
    right = {name: guests for name in config.layouts_of(gpu) if (guests := config.guests(name, gpu) or ())}
    right = {name: guests for name, guests in right.items() if all(_is_seen(guest, nodes) for guest in guests)}
    widest = [name for name, guests in right.items() if all(set(other) <= set(guests) for other in right.values())]
    if len(widest) == 1:
        return widest[0]
    said = f"several layouts look right ({', '.join(sorted(right))})" if right else "no layout has all its nodes ready"
    return Missing(why=f"{said}; make one so, or say it with `vgpu-serve switch LAYOUT --gpu {gpu} --from LAYOUT`")


def _is_seen(guest: Guest, nodes: Mapping[str, NodeSeen]) -> bool:
    node = nodes.get(guest.node)
    return node is not None and node.ready and node.profile == guest.profile.label
