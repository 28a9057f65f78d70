"""The environment that every Ray process of one installation must agree on, and what the head adds for its ingress.

One rule for the head and the workers of a cluster and for the embedded installation. Ray reads most of it once, when a
process begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from serving import haproxy

TOKEN_ENV = "RAY_AUTH_TOKEN_PATH"
AGREED: Mapping[str, str] = MappingProxyType(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # Ray holds a stopping replica open this long so that load balancers forget it; 30 s by default. Its own
        # HAProxy is told within a second.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
        "OMP_NUM_THREADS": "1",
    }
)
# A container's log is what its processes write, replicas included; Ray's own files would fill the pod's disk.
CONTAINER: Mapping[str, str] = MappingProxyType({"RAY_LOG_TO_STDERR": "1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Where Ray's HAProxy keeps its files, which must be short paths, and where it listens."""

    directory: Path
    binary: str
    metrics_port: int
    stats_port: int
    fallback_port: int
    host: str = haproxy.LOOPBACK


def token_file(environment: Mapping[str, str], problems: list[str]) -> Path | None:
    """The file with Ray's token; None where Ray is to run without. One that cannot be read joins `problems`."""
    if not (given := environment.get(TOKEN_ENV, "")):
        return None
    try:
        if not Path(given).read_text().strip():
            problems.append(f"{TOKEN_ENV}: {given} is empty; put Ray's token into it")
    except OSError as error:
        remedy = "mount the Secret with Ray's token there, readable for this user"
        problems.append(f"{TOKEN_ENV}: {given}: {error.strerror}; {remedy}")
    return Path(given)


def shared(token_file: Path | None) -> dict[str, str]:
    """What every Ray process is told. Without a token file, anybody who reaches Ray may command it."""
    authentication = {} if token_file is None else {"RAY_AUTH_MODE": "token", TOKEN_ENV: str(token_file)}
    return {**authentication, **AGREED}


def of_head(edge: Edge, token_file: Path | None) -> dict[str, str]:
    """What the head is told, and what its ingress needs; writes the script that Ray starts as HAProxy."""
    folder = edge.directory
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        **shared(token_file),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(edge.metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(edge.stats_port),
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        # An answer depends on nothing but its request, so what a dying replica left unanswered may be asked of
        # another one. Twice at most: a request that kills replicas must not go round all of them.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "2",
        # While a replica takes in a change of its settings, Ray counts it as not running and tells HAProxy so. That
        # lasts for a turn of its loop, 0.1 to 0.3 s here: with this HAProxy is told what is true at its end.
        "RAY_SERVE_HAPROXY_BROADCAST_COALESCE_S": "1",
        # A draining replica answers for 5 s more and fails its health checks at once. HAProxy hears of its successors
        # within 2 s; until then it must not give up the only server it knows: 12 checks, 0.25 s apart, take longer.
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_FALL": "12",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(edge.fallback_port),
        **haproxy.install(folder, binary=edge.binary, host=edge.host),
    }
