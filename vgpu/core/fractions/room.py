"""Where there is room on hosts and GPUs in use: sorted lists, so that a pod finds the tightest place without a scan.

Idle hosts and idle GPUs are never offered: who packs running pods tighter wants to keep those.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping, Set

from vgpu.core.fractions.host import Host
from vgpu.core.fractions.shape import WHOLE_UNITS, Shape

Place = tuple[str, tuple[int, ...]]


class Room:
    """Hosts as pods leave and enter them."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._pods: Counter[str] = Counter()
        self._gpus: list[tuple[int, str, int]] = []
        """GPUs in use: free units, host, index."""
        self._idle: list[tuple[int, str]] = []
        """Hosts by how many GPUs are idle."""
        self._cpu: list[tuple[int, str]] = []
        """Hosts by free CPU."""
        for host in self._hosts.values():
            self._gpus += _gpus_in_use(host)
            self._idle.append((host.free_units.count(WHOLE_UNITS), host.name))
            self._cpu.append((host.cpu_milli, host.name))
        for shelf in (self._gpus, self._idle, self._cpu):
            shelf.sort()

    @property
    def hosts(self) -> Mapping[str, Host]:
        """As they are now, by name."""
        return self._hosts

    @property
    def idle_gpus(self) -> int:
        return sum(count for count, _ in self._idle)

    def enter(self, name: str, shape: Shape | None = None, gpus: tuple[int, ...] = ()) -> None:
        """A pod takes its room; without a shape, it had taken it before and is only counted."""
        self._pods[name] += 1
        if shape is not None:
            self._replace(self._hosts[name].without(shape, gpus))

    def leave(self, name: str, shape: Shape, gpus: tuple[int, ...]) -> None:
        """A pod gives its room back."""
        self._pods[name] -= 1
        self._replace(self._hosts[name].with_back(shape, gpus))

    def find(self, shape: Shape, *, closed: Set[str], closed_gpu: tuple[str, int | None]) -> Place | None:
        """The tightest place for a pod, on no closed host and not on the closed GPU; None where there is none."""
        if shape.is_fraction:
            for at in range(bisect_left(self._gpus, (shape.units, "", 0)), len(self._gpus)):
                _, name, gpu = self._gpus[at]
                if name not in closed and (name, gpu) != closed_gpu and self._hosts[name].fits(shape):
                    return name, (gpu,)
            return None
        shelf, least = (self._idle, shape.gpus) if shape.gpus else (self._cpu, shape.cpu_milli)
        for at in range(bisect_left(shelf, (least, "")), len(shelf)):
            name = shelf[at][1]
            host = self._hosts[name]
            if name not in closed and self._is_in_use(host) and host.fits(shape):
                idle = (gpu for gpu, free in enumerate(host.free_units) if free == WHOLE_UNITS)
                return name, tuple(gpu for gpu, _ in zip(idle, range(shape.gpus), strict=False))
        return None

    def _is_in_use(self, host: Host) -> bool:
        return self._pods[host.name] > 0 or any(free < WHOLE_UNITS for free in host.free_units)

    def _replace(self, host: Host) -> None:
        before = self._hosts[host.name]
        self._hosts[host.name] = host
        for old in _gpus_in_use(before):
            del self._gpus[bisect_left(self._gpus, old)]
        for new in _gpus_in_use(host):
            insort(self._gpus, new)
        del self._idle[bisect_left(self._idle, (before.free_units.count(WHOLE_UNITS), host.name))]
        insort(self._idle, (host.free_units.count(WHOLE_UNITS), host.name))
        del self._cpu[bisect_left(self._cpu, (before.cpu_milli, host.name))]
        insort(self._cpu, (host.cpu_milli, host.name))


def _gpus_in_use(host: Host) -> list[tuple[int, str, int]]:
    return [(free, host.name, gpu) for gpu, free in enumerate(host.free_units) if free < WHOLE_UNITS]
