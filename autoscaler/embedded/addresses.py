"""Which loopback addresses one installation listens on, and whether they are free."""

import socket
from dataclasses import dataclass, fields
from itertools import islice
from random import SystemRandom

from autoscaler.refusal import Refused

HOST = "127.0.0.1"
# Ray replaces 127.0.0.1 by the machine's outward address; any other loopback address it leaves alone.
RAY_HOST = "127.0.0.2"


class PortsInUse(Refused):
    """Some ports cannot be had; the message names each with the option that changes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports of one installation; the first four are what people type."""

    http: int
    """Clients connect here: Ray's HAProxy."""
    api: int
    """The Kubernetes API stand-in."""
    dashboard: int
    """Ray's REST API."""
    autoscaler: int
    """The autoscaler's own /metrics and /v1/state."""
    extender: int
    """The scheduler extender, where cards are shared by units."""
    deployer: int
    """/metrics and the probes of what takes up changes of the models file."""
    hypervisor: int
    """The hypervisor stand-in, where a card can be cut in several ways."""
    switcher: int
    """What switches them: /metrics and /v1/switches."""
    gcs: int
    ray_client: int
    dashboard_agent: int
    fallback_proxy: int
    haproxy_metrics: int
    haproxy_stats: int


DEFAULTS = {"http": 8000, "api": 6443, "dashboard": 8265, "autoscaler": 9106}


_UNASKED = range(20_000, 32_768)
"""Above the ports of Ray's workers (10002 to 19999), below those of outgoing connections (Linux: 32768 to 60999)."""


def choose(wanted: dict[str, int]) -> Ports:
    """The wanted ports, and free ones for the rest. Raises `PortsInUse` listing every wanted port that is not free."""
    numbers = list(wanted.values())
    problems = [
        f"port {port} {why}; choose another with --{name}-port"
        for name, port in wanted.items()
        if (why := _why_not(port, numbers.count(port)))
    ]
    if problems:
        raise PortsInUse("\n".join(problems))
    names = [field.name for field in fields(Ports) if field.name not in wanted]
    # A free port may be one of the wanted ones, for nobody listens there yet.
    free = [port for port in _free_ports(len(fields(Ports))) if port not in numbers]
    return Ports(**wanted, **dict(zip(names, free, strict=False)))


def _why_not(port: int, times_wanted: int) -> str | None:
    """Why nothing can listen on a port, or None."""
    if not 1 <= port <= 65535:
        return "is not between 1 and 65535"
    if times_wanted > 1:
        return f"is asked for {times_wanted} times"
    with socket.socket() as probe:
        # As the servers do: connections that are still closing do not keep a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            return "is for root alone"
        except OSError:
            return "is in use"
    return None


def _free_ports(count: int) -> list[int]:
    """Distinct ports that are free now, drawn from those that neither the kernel nor Ray gives away unasked: a process
    that starts, or starts anew, minutes later must still find its own free."""
    free = (port for port in SystemRandom().sample(_UNASKED, len(_UNASKED)) if _why_not(port, 1) is None)
    return list(islice(free, count))
