"""The exporter's HTTP side. Healthy means that a sample is fresh; what the sample says does not matter."""

from http.server import ThreadingHTTPServer

from prometheus_client import CollectorRegistry

from vgpu.adapters import probes
from vgpu.exporter.sampler import STALE_AFTER_S, Sampler


def make_server(host: str, port: int, registry: CollectorRegistry, sampler: Sampler) -> ThreadingHTTPServer:
    """Bind, or raise OSError."""
    return probes.make_server(host, port, registry, {"/healthz": lambda: _ailment(sampler)})


def _ailment(sampler: Sampler) -> str:
    age_s = sampler.age_s()
    if age_s is None:
        return "no sample yet"
    return f"the last sample is {age_s:.0f} s old: the driver hangs" if age_s > STALE_AFTER_S else ""
