"""Scrapes workers and exporters over HTTP, all at once, and turns Prometheus text into samples.

Never raises: an endpoint that does not answer, or answers nonsense, is a missing reading with its reason.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import Counters, Missing, MissingReason, ReplicaSample, SlotReading, Source
from autoscaler.ports import Endpoint, Scraped

REFUSED_CODES = frozenset({"429", "503"})
BUSY_RATIO = "vgpu_slot_engine_busy_ratio"
READING_MISSING = "vgpu_reading_missing"
Text = str | Missing


class HttpMetrics:
    """Asks every endpoint for its `/metrics`."""

    def __init__(self, *, timeout_s: float = 1.0) -> None:
        self._timeout_s = timeout_s

    def scrape(self, workers: Sequence[Endpoint], exporters: Sequence[Endpoint], now_s: float) -> Scraped:
        """Scrape all; one timeout bounds the round."""
        texts = asyncio.run(self._fetch_all([*workers, *exporters]))
        replicas: list[ReplicaSample] = []
        slots: list[SlotReading] = []
        missing: list[Missing] = []
        for endpoint, text in zip(workers, texts, strict=False):
            _keep(_parsed_worker(endpoint, text, now_s), replicas, missing)
        for endpoint, text in zip(exporters, texts[len(workers) :], strict=True):
            readings, gaps = _parsed_exporter(endpoint, text, now_s)
            slots += readings
            missing += gaps
        return Scraped(replicas=tuple(replicas), slots=tuple(slots), missing=tuple(missing))

    async def _fetch_all(self, endpoints: Sequence[Endpoint]) -> list[str | MissingReason]:
        async with httpx.AsyncClient(timeout=self._timeout_s) as client:
            return await asyncio.gather(*(_fetch(client, endpoint) for endpoint in endpoints))


async def _fetch(client: httpx.AsyncClient, endpoint: Endpoint) -> str | MissingReason:
    try:
        answer = await client.get(endpoint.url)
    except httpx.HTTPError:
        return MissingReason.UNREACHABLE
    return answer.text if answer.status_code == httpx.codes.OK else MissingReason.UNREACHABLE


def _keep(parsed: ReplicaSample | Missing, replicas: list[ReplicaSample], missing: list[Missing]) -> None:
    if isinstance(parsed, Missing):
        missing.append(parsed)
    else:
        replicas.append(parsed)


def _parsed_worker(endpoint: Endpoint, text: str | MissingReason, now_s: float) -> ReplicaSample | Missing:
    if isinstance(text, MissingReason):
        return Missing(source=Source.REPLICA, name=endpoint.name, reason=text)
    try:
        return parse_worker(text, now_s)
    except (ValueError, KeyError, StopIteration):
        return Missing(source=Source.REPLICA, name=endpoint.name, reason=MissingReason.UNSUPPORTED)


def parse_worker(text: str, now_s: float) -> ReplicaSample:
    """Read one worker's `/metrics`. Raises `ValueError` or `KeyError` where it is not one."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    about = by_name["vgpu_serve_worker_info"][0].labels
    codes = {sample.labels["code"]: int(sample.value) for sample in by_name.get("vgpu_serve_requests_total", ())}
    refused = sum(count for code, count in codes.items() if code in REFUSED_CODES)
    failed = sum(count for code, count in codes.items() if code.startswith("5") and code not in REFUSED_CODES)
    in_flight = int(by_name["vgpu_serve_requests_in_flight"][0].value)
    return ReplicaSample(
        replica_id=about["replica"],
        model=about["model"],
        slot_id=about["slot"] or None,
        at_s=now_s,
        counters=Counters(
            answered=sum(codes.values()) - refused - failed,
            refused=refused,
            failed=failed,
            duration=_histogram(by_name["vgpu_serve_request_duration_seconds_bucket"]),
            engine_busy_s=by_name["vgpu_serve_engine_busy_seconds_total"][0].value,
        ),
        in_flight=in_flight,
        # Rows wait, requests are in flight: a request of several rows must not make more wait than there are.
        queued=min(in_flight, int(by_name["vgpu_serve_queued_rows"][0].value)),
    )


def _histogram(buckets: Iterable[Sample]) -> Histogram:
    cumulative = sorted((float(bucket.labels["le"]), int(bucket.value)) for bucket in buckets)
    edges_s = tuple(edge for edge, _ in cumulative[:-1])
    return Histogram(edges_s=edges_s, counts=tuple(count for _, count in cumulative))


def _parsed_exporter(
    endpoint: Endpoint, text: str | MissingReason, now_s: float
) -> tuple[list[SlotReading], list[Missing]]:
    if isinstance(text, MissingReason):
        return [], [Missing(source=Source.SLOT, name=endpoint.name, reason=text)]
    try:
        return parse_exporter(text, now_s)
    except (ValueError, KeyError):
        return [], [Missing(source=Source.SLOT, name=endpoint.name, reason=MissingReason.UNSUPPORTED)]


def parse_exporter(text: str, now_s: float) -> tuple[list[SlotReading], list[Missing]]:
    """Read one node exporter's `/metrics`. Raises `ValueError` or `KeyError` where it is not one."""
    readings: list[SlotReading] = []
    gaps: list[Missing] = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels: Mapping[str, str] = sample.labels
            if sample.name == BUSY_RATIO:
                busy_ratio = min(1.0, max(0.0, sample.value))
                readings.append(SlotReading(slot_id=labels["slot"], at_s=now_s, busy_ratio=busy_ratio))
            elif sample.name == READING_MISSING and labels.get("reading", "").startswith("engine"):
                name = labels.get("slot", labels.get("node", ""))
                gaps.append(Missing(source=Source.SLOT, name=name, reason=MissingReason.UNSUPPORTED))
    return readings, gaps
