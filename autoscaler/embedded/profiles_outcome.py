"""What `demo-profiles` showed: each switch by its steps, and what clients and slots did in each phase. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autoscaler.embedded import switch_timeline
from autoscaler.embedded.day_night import Phase
from autoscaler.embedded.outcome import NothingSeen
from autoscaler.embedded.switch_timeline import SwitchSeen, TrainingSeen, Use
from autoscaler.embedded.timeline import Timeline

# The first half of a phase is the way there: replicas come and go. What it settles to is in the second half.
SETTLED_RATIO = 0.5
DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilesOutcome:
    """What `demo-profiles.json` holds. Latencies are what clients felt, from the moment a request was due."""

    model: str
    device_kind: str
    objective_p95_ms: float
    switches: tuple[SwitchSeen, ...]
    requests_ok: int
    requests_failed: int
    p95_ms: Mapping[str, float | None]
    """By phase, of its second half."""
    slots: Mapping[str, Mapping[str, int]]
    """By phase, as it ended: the slots that serve, by type."""
    training: TrainingSeen
    phases: tuple[Phase, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What did not go as it should."""
        missed = [name for name, p95_ms in self.p95_ms.items() if p95_ms is None or p95_ms > self.objective_p95_ms]
        found = [
            *(f"{self.requests_failed} requests failed" for _ in range(min(1, self.requests_failed))),
            *(f"p95 was over its objective by the end of {name}" for name in missed),
            *(
                f"the switch to {switch.target} is {switch.result or 'not over'}: {switch.why or 'see its log'}"
                for switch in self.switches
                if switch.result != DONE
            ),
        ]
        if [switch.target for switch in self.switches] != ["night", "day"]:
            found.append(f"there were switches to {[switch.target for switch in self.switches]}")
        if not self.training.steps or not self.training.stops:
            found.append(f"the training made {self.training.steps} steps and was ended {self.training.stops} times")
        return tuple(found)

    @property
    def succeeded(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "switches": [_switch_json(switch) for switch in self.switches],
            "succeeded": self.succeeded,
            "problems": list(self.problems),
        }


def conclude(
    timeline: Timeline,
    *,
    model: str,
    phases: tuple[Phase, ...],
    switches: tuple[SwitchSeen, ...],
    slot_types: Mapping[str, str],
    training: TrainingSeen,
) -> ProfilesOutcome:
    """Sum up. Raises `NothingSeen` where the autoscaler could not be read."""
    if not timeline.scenes or not timeline.samples:
        raise NothingSeen("the autoscaler's state could not be read while the load ran; see the logs")
    failed = sum(sample.failed for sample in timeline.samples)
    settled_s = {phase.name: phase.from_s + SETTLED_RATIO * (phase.to_s - phase.from_s) for phase in phases}
    return ProfilesOutcome(
        model=model,
        device_kind="emulated",
        objective_p95_ms=float(timeline.scenes[-1].model(model)["objective_p95_ms"]),
        switches=switches,
        requests_ok=len(timeline.samples) - failed,
        requests_failed=failed,
        p95_ms={phase.name: timeline.between(settled_s[phase.name], phase.to_s).p95_ms for phase in phases},
        slots={phase.name: _serving(timeline, phase, slot_types) for phase in phases},
        training=training,
        phases=phases,
    )


def _serving(timeline: Timeline, phase: Phase, slot_types: Mapping[str, str]) -> dict[str, int]:
    """Slots that serve at the last look of a phase, by type; empty where nobody looked."""
    seen = [scene for scene in timeline.scenes if phase.from_s <= scene.at_s < phase.to_s]
    used = switch_timeline.uses(seen[-1], slot_types, training="") if seen else {}
    return {slot_type: count for (slot_type, use), count in sorted(used.items()) if use is Use.SERVING}


def _switch_json(switch: SwitchSeen) -> dict[str, Any]:
    by_step: dict[str, float] = {}
    for step, seconds in switch.steps:
        by_step[step] = round(by_step.get(step, 0.0) + seconds, 3)
    return {
        "gpu": switch.gpu,
        "from": switch.origin,
        "to": switch.target,
        "cause": switch.cause,
        "result": switch.result,
        "why": switch.why,
        "began_s": round(switch.began_s, 3),
        "seconds": by_step,
        "total_seconds": round(switch.seconds, 3),
    }
