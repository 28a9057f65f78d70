"""What the code exports: every series name with its labels, read from registries and not from a list."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from tests.observability import processes

# What a scrape adds: PodMonitors and the embedded system's configuration give every target these.
OF_TARGETS = frozenset({"namespace", "instance", "job", "pod"})
Labels = Mapping[str, frozenset[str]]
ENDINGS = {
    "counter": (("_total", ()),),
    "gauge": (("", ()),),
    "histogram": (("_bucket", ("le",)), ("_sum", ()), ("_count", ())),
}


def everything(directory: Path) -> dict[str, frozenset[str]]:
    """Of all processes and HAProxy; Prometheus' own series about alerts too."""
    found: dict[str, frozenset[str]] = {"ALERTS": frozenset({"alertname", "alertstate", "severity"})}
    for make in processes.REGISTRIES.values():
        found |= of_registry(make())
    return found | of_page(processes.haproxy_page(directory))


def of_registry(registry: CollectorRegistry) -> dict[str, frozenset[str]]:
    """Series that are there, and those that a counter or histogram will have once something happens."""
    return {**dict(_declared(registry)), **of_page(generate_latest(registry).decode())}


def of_page(text: str) -> dict[str, frozenset[str]]:
    """What one page of metrics has."""
    return {
        sample.name: frozenset(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _declared(registry: CollectorRegistry) -> Iterator[tuple[str, frozenset[str]]]:
    # The registry keeps its collectors, and those their labels, to themselves; a family without a sample says neither.
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            for family in collector.describe():
                for ending, further in ENDINGS.get(family.type, ()):
                    yield family.name + ending, frozenset({*collector._labelnames, *further})
        else:
            for family in collector.collect():
                names = re.findall(r"\w+", family.name)
                labels = frozenset(getattr(family, "_labelnames", ()))
                for ending, further in ENDINGS.get(family.type, ()):
                    yield names[0] + ending, labels | frozenset(further)
