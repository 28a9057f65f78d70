"""Models file to Ray Serve applications: one per model, and the gateway.

Each model's application is deployed with an external scaler: Ray's own scaling is off and the autoscaler's REST call
sets the count. A replica asks for one `vgpu_slot` of one of its slot types, and a worker's Ray node offers exactly one.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray import serve
from ray.serve._private.common import DeploymentID
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.schema import ApplicationStatus

from serving.config import GATEWAY, ModelConfig, ServingConfig
from serving.gateway import Gateway
from serving.replica import Replica
from vgpu.core import names

DEPLOYMENT = "replica"
# Our own queue (`max_queue`) refuses with 429 first; Ray's must not stand in front of it.
RAY_ONGOING_MARGIN = 64
POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingress:
    """Where clients connect."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def model_application(config: ModelConfig) -> serve.Application:
    """The application of one model, bound to its slot types."""
    deployment = serve.deployment(
        Replica,
        name=DEPLOYMENT,
        num_replicas=max(1, config.replicas),  # Ray takes no 0 here, only later: see `deploy`
        max_ongoing_requests=2 * config.serving.max_queue + RAY_ONGOING_MARGIN,
        ray_actor_options={
            "num_cpus": 0,
            "resources": {names.RAY_RESOURCE_SLOT: 1},
            "label_selector": {names.LABEL_PROFILE: any_of(config.slot)},
        },
        graceful_shutdown_timeout_s=config.serving.max_deadline_ms / 1000 + 5,
        health_check_period_s=2,
        health_check_timeout_s=30,
    )
    return deployment.bind(config.model_dump())


def any_of(labels: Sequence[str]) -> str:
    """The value of a Ray label selector that takes each of these: `in(…)` where there are several (Ray 2.60)."""
    return labels[0] if len(labels) == 1 else f"in({', '.join(labels)})"


def gateway_application(config: ServingConfig, ingress: Ingress) -> serve.Application:
    """The gateway, kept off the workers: it holds no slot."""
    deployment = serve.deployment(
        Gateway,
        name=GATEWAY,
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 0, "resources": {names.RAY_RESOURCE_HEAD: 0.001}},
    )
    sleepers = [model.name for model in config.models if model.may_sleep]
    return deployment.bind(config.model_dump(), ingress.url, sleepers)


def deploy(config: ServingConfig, *, ray_address: str, ingress: Ingress) -> None:
    """Deploy every application and wait until all run that do not begin asleep; HAProxy learns of them a little later.

    Raises `RuntimeError` with Ray's reason.
    """
    ray.init(address=ray_address, namespace="serve", log_to_driver=False, logging_level="warning")
    serve.start(proxy_location="HeadOnly", http_options={"host": ingress.host, "port": ingress.port})
    targets = [
        serve.RunTarget(
            target=model_application(model),
            name=model.name,
            route_prefix=f"/v2/models/{model.name}",
            external_scaler_enabled=True,
        )
        for model in config.models
    ]
    gateway = serve.RunTarget(target=gateway_application(config, ingress), name=GATEWAY, route_prefix="/")
    known = serve.status().applications
    # Ray's own wait wants a live replica behind every application at its HAProxy, which a model asleep has not (2.60).
    serve.run_many([*targets, gateway], wait_for_applications_running=False)
    asleep = {model.name for model in config.models if model.replicas == 0}
    _put_to_sleep(sorted(asleep - set(known)))
    _await_running([target.name for target in (*targets, gateway) if target.name not in asleep])
    ray.shutdown()


def _put_to_sleep(models: Sequence[str]) -> None:
    """Take back the one replica that Ray begins with, before it has found a worker; by the call of Ray's REST API."""
    controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    for model in models:
        ray.get(controller.update_deployment_replicas.remote(DeploymentID(name=DEPLOYMENT, app_name=model), 0))


def _await_running(applications: Sequence[str]) -> None:
    """Wait until these applications are up. Raises `RuntimeError` for the first that failed."""
    while True:
        seen = serve.status().applications
        for name in applications:
            if seen[name].status is ApplicationStatus.DEPLOY_FAILED:
                raise RuntimeError(f"{name}: {seen[name].message}")
        if all(seen[name].status is ApplicationStatus.RUNNING for name in applications):
            return
        time.sleep(POLL_S)
