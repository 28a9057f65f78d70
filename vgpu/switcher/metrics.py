"""The switcher's own metrics. Names and labels are public interface; README.md says what to do about them."""

from collections.abc import Callable, Iterator
from importlib import metadata

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vgpu.core.switching.record import Result, Step, Switch
from vgpu.switcher.asking import moment
from vgpu.switcher.running import Standing

# A second family of timestamps for every counter and histogram, which nobody here reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # has no types

_BUCKETS_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0)


class Tally:
    """What is counted as it happens. Safe for several threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._steps = Histogram(
            "vgpu_serve_switch_step_duration_seconds", "Observed time that a step of an ended switch took",
            ("step",), buckets=_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._switches = Histogram(
            "vgpu_serve_switch_duration_seconds", "Time from the beginning of a switch to its end",
            ("result",), buckets=_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._ended = Counter("vgpu_serve_switches", "Switches that have ended", ("gpu", "result"), registry=registry)
        self._errors = Counter(
            "vgpu_serve_switcher_provider_errors", "Calls of a provider that failed", ("provider", "operation"),
            registry=registry,
        )  # fmt: skip

    def know(self, gpu: str) -> None:
        """Let a GPU's counters begin at 0, so that the first of its switches shows as an increase."""
        for result in Result:
            self._ended.labels(gpu, result)

    def moved(self, before: Switch | None, after: Switch) -> None:
        """Count a switch once it has ended."""
        if after.result is None or after.ended_at_s is None:
            return
        self._ended.labels(after.gpu, after.result).inc()
        self._switches.labels(after.result).observe(after.ended_at_s - after.began_at_s)
        for line in after.spent:
            self._steps.labels(line.step).observe(line.seconds)

    def failed(self, provider: str, operation: str) -> None:
        """Count a call of a provider that failed."""
        self._errors.labels(provider, operation).inc()


class StandingCollector(Collector):
    """Reads how everything stands when Prometheus asks."""

    def __init__(self, standing: Callable[[], Standing]) -> None:
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        """The families of this moment."""
        standing = self._standing()
        yield from _rests(standing)
        yield from _under_way(standing)
        yield from _next(standing)
        yield _single("vgpu_serve_switcher_leader", "1 when this switcher changes things", float(standing.leads))
        refused = float(bool(standing.file_problems))
        yield _single("vgpu_serve_switcher_config_refused", "1 while the present file cannot be followed", refused)
        text = "When the last pass ended, Unix time"
        yield _single("vgpu_serve_switcher_last_pass_timestamp_seconds", text, standing.at_s)
        build = GaugeMetricFamily("vgpu_serve_build_info", "Version that runs here", labels=("version",))
        build.add_metric((metadata.version("vgpu-serve"),), 1)
        yield build


def _rests(standing: Standing) -> Iterator[Metric]:
    layouts = _family("vgpu_serve_switch_layout", "1 for the layout that a GPU is in", "gpu", "layout")
    refused = _family("vgpu_serve_switch_refused", "1 while a GPU's last request was refused", "gpu")
    problems = _family("vgpu_serve_switch_problem", "1 while something keeps a GPU from being switched", "gpu")
    for gpu, record in standing.records.items():
        if record.layout:
            layouts.add_metric((gpu, record.layout), 1)
        refused.add_metric((gpu,), float(record.switch is not None and record.switch.result is Result.REFUSED))
        problems.add_metric((gpu,), float(gpu in standing.problems))
    yield from (layouts, refused, problems)


def _under_way(standing: Standing) -> Iterator[Metric]:
    steps = _family("vgpu_serve_switch_step", "1 for the step that a GPU's switch is at", "gpu", "step")
    stuck = _family("vgpu_serve_switch_stuck", "1 while both directions of a switch have failed", "gpu")
    started = _family("vgpu_serve_switch_started_timestamp_seconds", "When the switch under way began, or 0", "gpu")
    lowest = _family("vgpu_serve_switch_lowest_units", "Least units of the fleet on the way of a switch", "gpu")
    for gpu, record in standing.records.items():
        switch = record.under_way
        for step in Step:
            steps.add_metric((gpu, step), float(switch is not None and switch.step is step))
        stuck.add_metric((gpu,), float(switch is not None and switch.stuck))
        started.add_metric((gpu,), 0.0 if switch is None else switch.began_at_s)
        if gpu in standing.lowest_units:
            lowest.add_metric((gpu,), standing.lowest_units[gpu])
    yield from (steps, stuck, started, lowest)


def _next(standing: Standing) -> Iterator[Metric]:
    family = _family("vgpu_serve_switch_next_timestamp_seconds", "The next change of the calendar", "gpu", "layout")
    following = standing.config.calendar.following(moment(standing.at_s))
    if following is not None:
        for gpu in standing.config.gpus:
            if standing.config.guests(following.layout, gpu) is not None:
                family.add_metric((gpu, following.layout), following.at.timestamp())
    yield family


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _single(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
