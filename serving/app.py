"""Models file to Ray Serve applications: one per model, and the gateway.

Each model's application is deployed with an external scaler: Ray's own scaling is off and the autoscaler's REST call
sets the count. A replica asks for one `vgpu_slot` of its slot type, and a worker's Ray node offers exactly one.
"""

from dataclasses import dataclass

import ray
from ray import serve

from serving.config import GATEWAY, ModelConfig, ServingConfig
from serving.gateway import Gateway
from serving.replica import Replica
from vgpu.core import names

DEPLOYMENT = "replica"
# Our own queue (`max_queue`) refuses with 429 first; Ray's must not stand in front of it.
RAY_ONGOING_MARGIN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingress:
    """Where clients connect."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def model_application(config: ModelConfig) -> serve.Application:
    """The application of one model, bound to its slot type."""
    deployment = serve.deployment(
        Replica,
        name=DEPLOYMENT,
        num_replicas=config.replicas,
        max_ongoing_requests=2 * config.serving.max_queue + RAY_ONGOING_MARGIN,
        ray_actor_options={
            "num_cpus": 0,
            "resources": {names.RAY_RESOURCE_SLOT: 1},
            "label_selector": {names.LABEL_PROFILE: config.slot},
        },
        graceful_shutdown_timeout_s=config.serving.max_deadline_ms / 1000 + 5,
        health_check_period_s=2,
        health_check_timeout_s=30,
    )
    return deployment.bind(config.model_dump())


def gateway_application(config: ServingConfig, ingress: Ingress) -> serve.Application:
    """The gateway, kept off the workers: it holds no slot."""
    deployment = serve.deployment(
        Gateway,
        name=GATEWAY,
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 0, "resources": {names.RAY_RESOURCE_HEAD: 0.001}},
    )
    return deployment.bind(config.model_dump(), ingress.url)


def deploy(config: ServingConfig, *, ray_address: str, ingress: Ingress) -> None:
    """Deploy every application and wait until all are up. Raises `RuntimeError` with Ray's reason."""
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
    serve.run_many([*targets, gateway])
    ray.shutdown()
