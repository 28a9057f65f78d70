"""What a demo showed: the comparison before the overload, at its worst, and after scale-out. Pure."""

from dataclasses import asdict, dataclass
from typing import Any

from autoscaler.embedded.timeline import Timeline, largest_p95_ms
from autoscaler.load.schedule import Step

WINDOW_S = 4.0
# The last part of the overload counts as "after": long enough for hundreds of requests, and the queue is gone by then.
AFTER_RATIO = 0.3
# The first requests find cold caches; they say nothing about the load.
WARM_S = 5.0


class NothingSeen(Exception):
    """There is nothing to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What `demo.json` holds. Latencies are what clients felt, from the moment a request was due."""

    model: str
    device_kind: str
    objective_p95_ms: float
    p95_before_ms: float | None
    """At the first step's load."""
    p95_peak_ms: float | None
    """The worst four seconds of the overload."""
    p95_after_ms: float | None
    """The last part of the overload, with the load unchanged."""
    replicas_before: int
    replicas_after: int
    nodes_used_before: tuple[str, ...]
    nodes_used_after: tuple[str, ...]
    requests_total: int
    requests_failed: int
    seconds_to_recover: float | None
    """From the load step until p95 is under its objective and stays there."""
    last_decision: str
    steps: tuple[Step, ...]

    @property
    def succeeded(self) -> bool:
        """Whether p95 came back under its objective."""
        return self.p95_after_ms is not None and self.p95_after_ms <= self.objective_p95_ms

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "succeeded": self.succeeded}


def compare(timeline: Timeline, *, model: str, steps: tuple[Step, ...]) -> Outcome:
    """Compare before and after scale-out; the last step is the overload. Raises `NothingSeen`."""
    overload_s = sum(step.duration_s for step in steps[:-1])
    end_s = overload_s + steps[-1].duration_s
    before = [scene for scene in timeline.scenes if scene.at_s <= overload_s]
    if not before or not timeline.samples:
        raise NothingSeen("the autoscaler's state could not be read while the load ran; see the logs")
    first, last = before[0], timeline.scenes[-1]
    windows = [(at_s, summary) for at_s, summary in timeline.windows(WINDOW_S) if at_s >= overload_s]
    objective_ms = float(last.model(model)["objective_p95_ms"])
    missed = [at_s for at_s, summary in windows if summary.p95_ms is None or summary.p95_ms > objective_ms]
    recovered_s = max((at_s + WINDOW_S / 2 for at_s in missed), default=overload_s)
    after = timeline.between(end_s - AFTER_RATIO * steps[-1].duration_s, end_s)
    has_recovered = after.p95_ms is not None and after.p95_ms <= objective_ms
    return Outcome(
        model=model,
        device_kind="emulated",
        objective_p95_ms=objective_ms,
        p95_before_ms=timeline.between(WARM_S, overload_s).p95_ms,
        p95_peak_ms=largest_p95_ms(windows),
        p95_after_ms=after.p95_ms,
        replicas_before=first.model(model)["replicas_running"] or 0,
        replicas_after=last.model(model)["replicas_running"] or 0,
        nodes_used_before=tuple(first.nodes_used(model)),
        nodes_used_after=tuple(last.nodes_used(model)),
        requests_total=len(timeline.samples),
        requests_failed=sum(sample.failed for sample in timeline.samples),
        seconds_to_recover=round(recovered_s - overload_s, 1) if has_recovered else None,
        last_decision=_last_change(timeline, model),
        steps=steps,
    )


def _last_change(timeline: Timeline, model: str) -> str:
    """The sentence of the last decision that changed the count, or the last one of all."""
    sentences = [str(scene.model(model)["decision"]) for scene in timeline.scenes]
    return next((text for text in reversed(sentences) if ": from " in text), sentences[-1])
