"""Targets that somebody else sets: put right once, and left to them where they insist."""

from autoscaler.core.decision import Reason, Stage, Step, numbers
from autoscaler.core.observation import DeploymentSeen
from autoscaler.core.situation import Situation
from autoscaler.core.state import ModelState


def reset_step(deployment: DeploymentSeen, state: ModelState) -> tuple[Step, ...]:
    """Notice a target that somebody else changed: a redeploy resets it, for one, and Serve says nothing of it."""
    if state.posted is None or deployment.at_s <= state.posted_s or deployment.target == state.posted:
        return ()
    return (Step(stage=Stage.SEEN, before=deployment.target, after=state.posted, reason=Reason.TARGET_RESET),)


def step(situation: Situation, deployment: DeploymentSeen, count: int) -> Step | None:
    """Leave the target, within the bounds, to whoever sets it again and again; not while clients suffer from it."""
    until_s, now_s, spec = situation.state.yields_until_s, situation.now_s, situation.spec
    if until_s is None or now_s >= until_s or situation.too_slow or situation.refusing:
        return None
    theirs = min(max(deployment.target, situation.floor), spec.max_replicas)
    why = numbers(left_s=until_s - now_s)
    return Step(stage=Stage.GUARDRAIL, before=count, after=theirs, reason=Reason.FOREIGN_WRITER, numbers=why)
