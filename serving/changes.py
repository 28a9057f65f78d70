"""What is deployed, and what the models file wants -> the steps from one to the other, in their order. Pure.

A model that is as it should be has no step. The gateway changes after new models were handed to Ray and before old ones
are taken away, so that it never names a model that Ray does not know.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from serving.config import GATEWAY, ModelConfig, ServingConfig
from serving.deployed import Deployed, Settings, State, settings_of, version_of


class How(StrEnum):
    """What a deployment does to the replicas that run."""

    NEW = "new"
    LIVE = "live"
    """They take the change in."""
    ROLLING = "rolling"
    """Each is replaced; the old one answers until the new one does, which takes one worker more."""
    IN_PLACE = "in place"
    """Each is stopped before its successor starts: for a rolling change that found no worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """Hand one application to Ray."""

    name: str
    settings: Settings
    replicas: int
    how: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Take one application away; its replicas answer what they hold first."""

    name: str
    is_retry: bool = False
    """It is deployed anew once it is gone."""


Step = Deploy | Delete


def difference(
    deployed: Mapping[str, Deployed],
    wanted: ServingConfig,
    *,
    without_room: Collection[str] = (),
    tried_again: Collection[str] = (),
) -> tuple[Step, ...]:
    """The steps that are missing.

    `without_room` are models whose rolling change has waited for a worker long enough, `tried_again` those that never
    started and shall be given to Ray once more. Applications that are not ours are left alone, but for one that bears
    the name of a wanted model.
    """
    models = [
        Delete(name=model.name, is_retry=True)
        if model.name in tried_again and deployed[model.name].settings == settings_of(model)
        else _model_step(model, deployed.get(model.name), model.name in without_room)
        for model in wanted.models
    ]
    names = {model.name for model in wanted.models} | {GATEWAY}
    gone = [
        Delete(name=name)
        for name, seen in sorted(deployed.items())
        if name not in names and seen.is_ours and seen.state is not State.DELETING
    ]
    return tuple(step for step in (*models, _gateway_step(deployed, wanted), *gone) if step is not None)


def _model_step(model: ModelConfig, seen: Deployed | None, without_room: bool) -> Deploy | None:
    settings = settings_of(model)
    if seen is None or seen.state is State.DELETING:
        return Deploy(name=model.name, settings=settings, replicas=model.replicas, how=How.NEW)
    if not seen.exists:
        return None
    if seen.settings == settings:
        if not without_room:
            return None
        how = How.IN_PLACE
    elif seen.settings is not None and version_of(seen.settings) == version_of(settings):
        how = How.LIVE
    else:
        how = How.ROLLING
    return Deploy(name=model.name, settings=settings, replicas=seen.target, how=how)


def _gateway_step(deployed: Mapping[str, Deployed], wanted: ServingConfig) -> Deploy | None:
    seen = deployed.get(GATEWAY)
    if seen is not None and not seen.exists:
        return None
    is_new = seen is None or seen.state is State.DELETING
    settings = gateway_settings(wanted, {} if is_new else deployed)
    if seen is not None and not is_new and seen.settings == settings:
        return None
    ours = seen is not None and seen.is_ours
    return Deploy(name=GATEWAY, settings=settings, replicas=1, how=How.NEW if is_new or not ours else How.LIVE)


def gateway_settings(wanted: ServingConfig, deployed: Mapping[str, Deployed]) -> dict[str, Any]:
    """What the gateway is told: the models with their limits, and those without which the server is not ready.

    A model that joins a server that is ready does not make it unready: it counts from when it runs.
    """
    before = deployed[GATEWAY].settings if GATEWAY in deployed else None
    awake = [model.name for model in wanted.models if not model.may_sleep]
    if before is not None:
        awake = [name for name in awake if name in before["awaited"] or _runs(deployed.get(name))]
    limits = {model.name: model.serving.model_dump(mode="json") for model in wanted.models}
    return {"models": limits, "awaited": awake}


def _runs(seen: Deployed | None) -> bool:
    return seen is not None and seen.state is State.RUNNING


def lacks_room(seen: Deployed) -> bool:
    """Whether a rolling change waits: one replica more than asked for is there, and no worker has taken it."""
    return seen.state is State.DEPLOYING and seen.unplaced > 0 and seen.replicas > seen.target > 0


def never_started(seen: Deployed) -> bool:
    """Whether Ray has given up on an application of which nothing runs; it tries that no more by itself.

    One that failed as it was deployed is `DEPLOY_FAILED`, one that failed as it was woken `UNHEALTHY`.
    """
    return seen.state in (State.DEPLOY_FAILED, State.UNHEALTHY) and seen.replicas == 0 < seen.target
