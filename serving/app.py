"""Settings to Ray Serve applications: one per model, and the gateway.

Each model's application is deployed with an external scaler: Ray's own scaling is off and the autoscaler's REST call
sets the count. A replica asks for one `vgpu_slot` of one of its slot types, and a worker's Ray node offers exactly one.
"""

from collections.abc import Sequence

from ray import serve

from serving.changes import Deploy, How
from serving.config import GATEWAY, ModelConfig
from serving.deployed import DEPLOYMENT, Settings, version_of
from serving.gateway import Gateway
from serving.replica import Replica
from serving.session import Ingress
from vgpu.core import names

# Our own queue (`max_queue`) refuses with 429 first; Ray's must not stand in front of it.
RAY_ONGOING_MARGIN = 64
# A rolling change may start so many more replicas than are asked for, at least one, before it stops one; workers decide
# whether there is room for them. The share is that of Kubernetes' Deployments.
SURGE_PERCENT = 25


def target(step: Deploy, ingress: Ingress) -> serve.RunTarget:
    """What Ray is handed for one step."""
    if step.name == GATEWAY:
        return serve.RunTarget(target=gateway_application(step.settings, ingress), name=GATEWAY, route_prefix="/")
    return serve.RunTarget(
        target=model_application(step.settings, replicas=step.replicas, how=step.how),
        name=step.name,
        route_prefix=f"/v2/models/{step.name}",
        external_scaler_enabled=True,
    )


def model_application(settings: Settings, *, replicas: int, how: How = How.NEW) -> serve.Application:
    """The application of one model, bound to its slot types. `replicas` may be 0."""
    config = ModelConfig.model_validate(settings)
    deployment = serve.deployment(
        Replica,
        name=DEPLOYMENT,
        max_ongoing_requests=2 * config.serving.max_queue + RAY_ONGOING_MARGIN,
        user_config=dict(settings),
        ray_actor_options={
            "num_cpus": 0,
            "resources": {names.RAY_RESOURCE_SLOT: 1},
            "label_selector": {names.LABEL_PROFILE: any_of(config.slot)},
        },
        graceful_shutdown_timeout_s=config.serving.max_deadline_ms / 1000 + 5,
        health_check_period_s=2,
        health_check_timeout_s=30,
        max_surge_percent=0 if how is How.IN_PLACE else SURGE_PERCENT,
    )
    # Ray draws a version of its own where none is given, and replaces every replica at each deployment (2.60).
    deployment = deployment.options(version=version_of(settings), _internal=True)
    # Its decorator takes no 0, its controller does: a model that begins asleep, or is, never has a replica for it.
    deployment._deployment_config.num_replicas = replicas
    return deployment.bind(dict(settings))


def any_of(labels: Sequence[str]) -> str:
    """The value of a Ray label selector that takes each of these: `in(…)` where there are several (Ray 2.60).

    Without spaces: Ray takes one after a comma for part of the value, which then fits no node.
    """
    return labels[0] if len(labels) == 1 else f"in({','.join(labels)})"


def gateway_application(settings: Settings, ingress: Ingress) -> serve.Application:
    """The gateway, kept off the workers: it holds no slot."""
    deployment = serve.deployment(
        Gateway,
        name=GATEWAY,
        max_ongoing_requests=1000,
        user_config=dict(settings),
        ray_actor_options={"num_cpus": 0, "resources": {names.RAY_RESOURCE_HEAD: 0.001}},
    )
    # One version for ever: whatever the gateway is told, it takes in while it runs.
    return deployment.options(version=GATEWAY, _internal=True).bind(dict(settings), ingress.url)
