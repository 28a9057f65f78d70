"""What Ray Serve says of its applications, and the settings each was given: the only record of what is deployed.

A deployment's `user_config` holds all that its replicas were made with, so that whoever reads Ray knows what runs, also
a deployer that starts anew. Ray's `version` of a deployment is drawn from the part that needs new replicas: where it is
the same, Ray (2.60) hands the new `user_config` to the replicas that run; where it differs, Ray replaces them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from serving.config import GATEWAY, ModelConfig

Settings = Mapping[str, Any]

DEPLOYMENT = "replica"
# Taken in by replicas that run; everything else that a model is made of needs new ones.
LIVE_KEYS = frozenset({"objective_p95_ms", "serving", "tenant"})
# The autoscaler's, from the first deployment on.
COUNT_KEY = "replicas"
GONE_STATES = frozenset({"STOPPED", "STOPPING"})


class State(StrEnum):
    """Ray Serve's words for an application."""

    NOT_STARTED = "NOT_STARTED"
    DEPLOYING = "DEPLOYING"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    DELETING = "DELETING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """One application as Ray Serve has it."""

    state: State
    message: str = ""
    settings: Settings | None = None
    """What it was given as `user_config`; None where it has none that is ours, or none yet."""
    target: int = 0
    """Replicas asked for, by whoever asked last."""
    replicas: int = 0
    """Replicas there are, but for those that stop."""
    unplaced: int = 0
    """Those of them that no worker has taken yet."""
    exists: bool = True
    """Ray has built its deployment; before that, nothing of it can be told."""

    @property
    def is_ours(self) -> bool:
        return self.settings is not None


def settings_of(model: ModelConfig) -> dict[str, Any]:
    """All that a model's replicas are made with, as JSON; not how many there are."""
    dumped: dict[str, Any] = model.model_dump(mode="json", exclude={COUNT_KEY})
    return dumped


def version_of(settings: Settings) -> str:
    """Changes where replicas that run cannot take a change in."""
    made_of = {key: value for key, value in settings.items() if key not in LIVE_KEYS}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def read(details: Mapping[str, Any]) -> dict[str, Deployed]:
    """Every application, by name, from Ray Serve's own details (those of its REST API, 2.60)."""
    return {name: _application(name, said) for name, said in details["applications"].items()}


def _application(name: str, said: Mapping[str, Any]) -> Deployed:
    state, message = State(str(said["status"])), str(said.get("message", ""))
    deployment = said["deployments"].get(GATEWAY if name == GATEWAY else DEPLOYMENT)
    if deployment is None:
        return Deployed(state=state, message=message, exists=bool(said["deployments"]))
    found = deployment["deployment_config"].get("user_config")
    mine = isinstance(found, dict) and (name == GATEWAY or found.get("name") == name)
    there = [replica for replica in deployment["replicas"] if replica["state"] not in GONE_STATES]
    return Deployed(
        state=state,
        # The application's own words only name the deployment; why it failed stands there.
        message=str(deployment.get("message") or message),
        settings=found if mine else None,
        target=int(deployment["target_num_replicas"]),
        replicas=len(there),
        unplaced=sum(replica["state"] == "STARTING" and not replica.get("node_id") for replica in there),
    )
