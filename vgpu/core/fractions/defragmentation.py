"""Which moves of running pods would give back whole GPUs, or whole hosts: advice, and a plan that can be followed.

A step vacates one GPU (or one host) by moving all pods on it to GPUs in use elsewhere that have room. To vacate a GPU
no idle one is used, to vacate a host no idle host, so each step gains. Moves of a plan hold in their order: each finds
room when its turn comes, and no pod moves twice. Nothing is moved that is not said to be movable, and a GPU on which
more is used than the pods told of account for is left alone.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vgpu.core.fractions.host import Host
from vgpu.core.fractions.room import Room
from vgpu.core.fractions.shape import WHOLE_UNITS, Shape


class Goal(StrEnum):
    """What a step gives back."""

    GPU = "gpu"
    """One idle GPU, for a pod that asks for whole ones."""
    HOST = "host"
    """A host without pods, which a scale-in can remove."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A pod where it runs."""

    pod: str
    host: str
    gpus: tuple[int, ...]
    shape: Shape
    is_movable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One pod from its GPUs to others."""

    pod: str
    units: int
    """On all its GPUs."""
    from_host: str
    from_gpus: tuple[int, ...]
    to_host: str
    to_gpus: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Moves that belong together: done in part they free nothing."""

    host: str
    gpu: int | None
    """None: the whole host."""
    moves: tuple[Move, ...]
    freed_units: int
    """Units of the GPUs that become idle."""
    fragment_units: int
    """Of these, what was free before, in pieces beside the pods that move away."""

    @property
    def gain_per_move(self) -> float:
        """Units that become whole for each pod that has to move."""
        return self.freed_units / len(self.moves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in the order in which to take them, the greatest gain for a move first."""

    goal: Goal
    steps: tuple[Step, ...]
    idle_gpus_before: int
    idle_gpus_after: int

    @property
    def moves(self) -> tuple[Move, ...]:
        return tuple(move for step in self.steps for move in step.moves)

    def report(self) -> tuple[str, ...]:
        """The plan in sentences: the sum, then a line for each step and each of its moves."""
        units = sum(step.freed_units for step in self.steps)
        if not self.steps:
            return (f"no move would free a {self.goal}: {self.idle_gpus_before} GPUs are idle",)
        lines = [
            f"{len(self.moves)} moves would free {units} units: idle GPUs from {self.idle_gpus_before} to "
            f"{self.idle_gpus_after}"
        ]
        for step in self.steps:
            what = f"host {step.host}" if step.gpu is None else f"GPU {step.gpu} of {step.host}"
            lines.append(
                f"{what}: {step.freed_units} units for {len(step.moves)} moves ({step.fragment_units} were fragments)"
            )
            lines.extend(
                f"  {move.pod} ({move.units} units): {move.from_host}{_indices(move.from_gpus)} to "
                f"{move.to_host}{_indices(move.to_gpus)}"
                for move in step.moves
            )
        return tuple(lines)


def advise(
    hosts: Iterable[Host], tenants: Iterable[Tenant], *, goal: Goal = Goal.GPU, most_moves: int | None = None
) -> Plan:
    """Find steps until no more is found or `most_moves` are used up.

    Raises:
        ValueError: for a pod on a host or GPU that is not there, or more units used and free than a GPU has.
    """
    room, running = Room(hosts), list(tenants)
    _refuse_impossible(room.hosts, running)
    for tenant in running:
        room.enter(tenant.host)
    before = room.idle_gpus
    steps: list[Step] = []
    left, reached, vacated = most_moves, set[tuple[str, int]](), set[str]()
    for group in _groups(room.hosts, running, goal):
        is_open = all((group.host, gpu) not in reached for gpu in group.gpus or (NO_GPU,))
        if not is_open or (left is not None and len(group.tenants) > left):
            continue
        step = _vacate(group, room, vacated)
        if step is None:
            continue
        steps.append(step)
        left = None if left is None else left - len(step.moves)
        if group.gpu is None:
            vacated.add(group.host)
        for move in step.moves:
            reached.update((move.to_host, gpu) for gpu in (*move.to_gpus, NO_GPU))
            if goal is Goal.HOST:
                reached.update((move.to_host, gpu) for gpu in range(len(room.hosts[move.to_host].free_units)))
    return Plan(goal=goal, steps=tuple(steps), idle_gpus_before=before, idle_gpus_after=room.idle_gpus)


NO_GPU = -1
"""Stands for what a pod without GPU reaches on a host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """What a step would move: all pods on a GPU, or on a host."""

    host: str
    gpu: int | None
    gpus: tuple[int, ...]
    """Those that become idle."""
    tenants: tuple[Tenant, ...]
    """The largest first: if it finds no room, the others need not be tried."""

    @property
    def rank(self) -> tuple[float, int, str, tuple[int, ...]]:
        """The greatest gain for a move first; among equals what moves least."""
        gain = WHOLE_UNITS * len(self.gpus) / len(self.tenants)
        return (-gain, sum(tenant.shape.total_units for tenant in self.tenants), self.host, self.gpus)


def _groups(hosts: Mapping[str, Host], tenants: Sequence[Tenant], goal: Goal) -> list[_Group]:
    """All that may be vacated, the best first."""
    known: Counter[tuple[str, int]] = Counter()
    on_host: dict[str, list[Tenant]] = defaultdict(list)
    for tenant in tenants:
        on_host[tenant.host].append(tenant)
        for index in tenant.gpus:
            known[tenant.host, index] += tenant.shape.units
    found = []
    for name, own in on_host.items():
        free = hosts[name].free_units
        for gpu, gpus, moving in _by_gpu(own) if goal is Goal.GPU else _as_a_whole(hosts[name], own):
            is_accounted_for = all(free[each] + known[name, each] == WHOLE_UNITS for each in gpus)
            if is_accounted_for and all(tenant.is_movable for tenant in moving):
                moving.sort(key=lambda tenant: (-tenant.shape.total_units, -tenant.shape.cpu_milli, tenant.pod))
                found.append(_Group(host=name, gpu=gpu, gpus=gpus, tenants=tuple(moving)))
    return sorted(found, key=lambda group: group.rank)


def _by_gpu(tenants: Sequence[Tenant]) -> Iterator[tuple[int | None, tuple[int, ...], list[Tenant]]]:
    """Each GPU that fractions share: who has whole ones would only change places with the idle one."""
    by_gpu: dict[int, list[Tenant]] = defaultdict(list)
    for tenant in tenants:
        if tenant.shape.is_fraction:
            by_gpu[tenant.gpus[0]].append(tenant)
    for gpu, moving in by_gpu.items():
        yield gpu, (gpu,), moving


def _as_a_whole(host: Host, tenants: Sequence[Tenant]) -> Iterator[tuple[int | None, tuple[int, ...], list[Tenant]]]:
    """The host with all its GPUs in use."""
    in_use = tuple(gpu for gpu, free in enumerate(host.free_units) if free < WHOLE_UNITS)
    yield None, in_use, list(tenants)


def _vacate(group: _Group, room: Room, vacated: set[str]) -> Step | None:
    """Find room for every pod of the group and take it; where one finds none, nothing is taken."""
    before = room.hosts[group.host].free_units
    closed = vacated if group.gpu is not None else vacated | {group.host}
    moves: list[Move] = []
    for tenant in group.tenants:
        room.leave(tenant.host, tenant.shape, tenant.gpus)
        place = room.find(tenant.shape, closed=closed, closed_gpu=(group.host, group.gpu))
        if place is None:
            room.enter(tenant.host, tenant.shape, tenant.gpus)
            for move, moved in reversed(list(zip(moves, group.tenants, strict=False))):
                room.leave(move.to_host, moved.shape, move.to_gpus)
                room.enter(moved.host, moved.shape, moved.gpus)
            return None
        room.enter(place[0], tenant.shape, place[1])
        moves.append(
            Move(
                pod=tenant.pod,
                units=tenant.shape.total_units,
                from_host=tenant.host,
                from_gpus=tenant.gpus,
                to_host=place[0],
                to_gpus=place[1],
            )
        )
    return Step(
        host=group.host,
        gpu=group.gpu,
        moves=tuple(moves),
        freed_units=WHOLE_UNITS * len(group.gpus),
        fragment_units=sum(before[gpu] for gpu in group.gpus),
    )


def _refuse_impossible(hosts: Mapping[str, Host], tenants: Sequence[Tenant]) -> None:
    used: Counter[tuple[str, int]] = Counter()
    for tenant in tenants:
        host = hosts.get(tenant.host)
        if host is None:
            raise ValueError(f"pod {tenant.pod} runs on host {tenant.host}, which is not among the hosts")
        if len(set(tenant.gpus)) != tenant.shape.gpus or not all(
            0 <= gpu < len(host.free_units) for gpu in tenant.gpus
        ):
            raise ValueError(
                f"pod {tenant.pod} of {tenant.shape.gpus} GPUs is said to be on GPUs {tenant.gpus} of {tenant.host}, "
                f"which has {len(host.free_units)}"
            )
        for index in tenant.gpus:
            used[tenant.host, index] += tenant.shape.units
    for (name, index), units in used.items():
        free = hosts[name].free_units[index]
        if units + free > WHOLE_UNITS:
            raise ValueError(f"GPU {index} of {name}: {units} units used and {free} free; it has {WHOLE_UNITS}")


def _indices(gpus: tuple[int, ...]) -> str:
    return f" GPU {', '.join(map(str, gpus))}" if gpus else ""
