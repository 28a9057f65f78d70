"""Scrapes workers and exporters over HTTP, all at once, and turns Prometheus text into samples.

Never raises: an endpoint that does not answer in time, or answers nonsense, is a missing reading with its reason.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import Counters, Missing, MissingReason, ReplicaSample, SlotReading, Source
from autoscaler.ports import Endpoint, Scraped

REFUSED_CODES = frozenset({"429", "503"})
# A few percent above the whole engine is how NVML rounds; more is no reading at all.
MOST_BUSY_RATIO = 1.05
BUSY_RATIO = "vgpu_slot_engine_busy_ratio"
READING_MISSING = "vgpu_reading_missing"
# What the exporter says about a reading that is not there. What it leaves out, a lost device for one, may come back.
WHY_MISSING: Mapping[str, MissingReason] = {
    "no_driver": MissingReason.UNSUPPORTED,
    "not_supported": MissingReason.UNSUPPORTED,
    "no_permission": MissingReason.UNSUPPORTED,
    "stale": MissingReason.STALE,
}


class HttpMetrics:
    """Asks every endpoint for its `/metrics`."""

    def __init__(self, *, timeout_s: float = 1.0) -> None:
        self._timeout_s = timeout_s
        self._tls = httpx.create_ssl_context()  # once: it takes 20 ms

    def scrape(self, workers: Sequence[Endpoint], exporters: Sequence[Endpoint], now_s: float) -> Scraped:
        """Scrape all; one timeout bounds the round."""
        texts = asyncio.run(self._fetch_all([*workers, *exporters]))
        replicas: list[ReplicaSample] = []
        slots: list[SlotReading] = []
        missing: list[Missing] = []
        for worker, text in zip(workers, texts[: len(workers)], strict=True):
            sample = _worker(worker, text, now_s)
            missing += [sample] if isinstance(sample, Missing) else []
            replicas += [sample] if isinstance(sample, ReplicaSample) else []
        for exporter, text in zip(exporters, texts[len(workers) :], strict=True):
            readings, gaps = _exporter(exporter, text, now_s)
            slots += readings
            missing += gaps
        return Scraped(replicas=tuple(replicas), slots=tuple(slots), missing=tuple(missing))

    async def _fetch_all(self, endpoints: Sequence[Endpoint]) -> list[str | None]:
        # No proxy from the environment: workers and nodes are next door.
        async with httpx.AsyncClient(timeout=self._timeout_s, verify=self._tls, trust_env=False) as client:
            return await asyncio.gather(*(self._fetch(client, endpoint) for endpoint in endpoints))

    async def _fetch(self, client: httpx.AsyncClient, endpoint: Endpoint) -> str | None:
        """The text, or None where there is none in time; httpx's own timeout starts anew with every byte."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await client.get(endpoint.url)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return None
        return answer.text if answer.status_code == httpx.codes.OK else None


def _worker(endpoint: Endpoint, text: str | None, now_s: float) -> ReplicaSample | Missing:
    if text is None:
        return Missing(source=Source.REPLICA, name=endpoint.name, reason=MissingReason.UNREACHABLE)
    try:
        return parse_worker(text, now_s)
    except ValueError:
        return Missing(source=Source.REPLICA, name=endpoint.name, reason=MissingReason.NOT_SEEN)


def _exporter(endpoint: Endpoint, text: str | None, now_s: float) -> tuple[list[SlotReading], list[Missing]]:
    if text is None:
        return [], [Missing(source=Source.SLOT, name=endpoint.name, reason=MissingReason.UNREACHABLE)]
    try:
        return parse_exporter(text, now_s)
    except ValueError:
        return [], [Missing(source=Source.SLOT, name=endpoint.name, reason=MissingReason.NOT_SEEN)]


def parse_worker(text: str, now_s: float) -> ReplicaSample:
    """Read one worker's `/metrics`. Raises `ValueError` where it is not one, or not all of one."""
    samples = _samples(text)
    about = _only(samples, "vgpu_serve_worker_info").labels
    codes: Counter[str] = Counter()
    for sample in samples.get("vgpu_serve_requests_total", ()):
        codes[_label(sample, "code")] += int(sample.value)
    refused = sum(count for code, count in codes.items() if code in REFUSED_CODES)
    failed = sum(count for code, count in codes.items() if code.startswith("5") and code not in REFUSED_CODES)
    in_flight = int(_only(samples, "vgpu_serve_requests_in_flight").value)
    return ReplicaSample(
        replica_id=about.get("replica", ""),
        model=about.get("model", ""),
        slot_id=about.get("slot") or None,
        at_s=now_s,
        counters=Counters(
            answered=codes.total() - refused - failed,
            refused=refused,
            failed=failed,
            duration=_histogram(samples.get("vgpu_serve_request_duration_seconds_bucket", ())),
            engine_busy_s=_only(samples, "vgpu_serve_engine_busy_seconds_total").value,
            batches=sum(int(sample.value) for sample in samples.get("vgpu_serve_execution_duration_seconds_count", ())),
        ),
        in_flight=in_flight,
        # Rows wait, requests are in flight: a request of several rows must not make more wait than there are.
        queued=min(in_flight, int(_only(samples, "vgpu_serve_queued_rows").value)),
    )


def parse_exporter(text: str, now_s: float) -> tuple[list[SlotReading], list[Missing]]:
    """Read one node exporter's `/metrics`. Raises `ValueError` where it is not one, or not all of one."""
    samples = _samples(text)
    said = samples.get(BUSY_RATIO, ())
    readings = [
        SlotReading(slot_id=_label(sample, "slot"), at_s=now_s, busy_ratio=min(1.0, sample.value))
        for sample in said
        if sample.value <= MOST_BUSY_RATIO
    ]
    gaps = [
        Missing(
            source=Source.SLOT,
            # Where no device could be listed the node stands for its slots.
            name=sample.labels.get("slot") or _label(sample, "node"),
            reason=WHY_MISSING.get(_label(sample, "reason"), MissingReason.NOT_SEEN),
        )
        for sample in samples.get(READING_MISSING, ())
        if _label(sample, "reading") in ("engine_busy_ratio", "devices")
    ]
    gaps += [
        Missing(source=Source.SLOT, name=_label(sample, "slot"), reason=MissingReason.OUT_OF_RANGE)
        for sample in said
        if sample.value > MOST_BUSY_RATIO
    ]
    return readings, gaps


def _samples(text: str) -> dict[str, list[Sample]]:
    """All samples by name. Raises `ValueError` for text that breaks off, and for values that count nothing."""
    if not text.endswith("\n"):
        raise ValueError("the text breaks off inside a line")
    by_name: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not 0 <= sample.value < math.inf:
                raise ValueError(f"{sample.name} is {sample.value}")
            by_name.setdefault(sample.name, []).append(sample)
    return by_name


def _only(samples: Mapping[str, list[Sample]], name: str) -> Sample:
    found = samples.get(name, [])
    if len(found) != 1:
        raise ValueError(f"{name} is there {len(found)} times")
    return found[0]


def _label(sample: Sample, name: str) -> str:
    if name not in sample.labels:
        raise ValueError(f"{sample.name} has no label {name}")
    return str(sample.labels[name])


def _histogram(buckets: Iterable[Sample]) -> Histogram:
    cumulative = sorted((float(_label(bucket, "le")), int(bucket.value)) for bucket in buckets)
    if not cumulative or cumulative[-1][0] != math.inf:
        raise ValueError("the histogram has no total")
    edges_s = tuple(edge for edge, _ in cumulative[:-1])
    return Histogram(edges_s=edges_s, counts=tuple(count for _, count in cumulative))
