"""How applications are handed to Ray Serve; no cluster is started."""

from typing import Any

import pytest
from ray._private.label_utils import validate_label_selector
from ray.serve._private.config import DeploymentConfig

from serving import app, changes, config
from serving.changes import Deploy, How
from serving.deployed import settings_of
from serving.gateway import Gateway
from serving.replica import Replica
from serving.session import Ingress

INGRESS = Ingress(host="127.0.0.1", port=8000)
CONFIG = config.parse(
    {
        "models": {
            "echo": {
                "source": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200, "replicas": 3,
                "serving": {"max_queue": 100, "max_deadline_ms": 2000},
            }
        }
    }
)  # fmt: skip
SETTINGS = settings_of(CONFIG.models[0])


def target(**changed: Any) -> Any:
    """What Ray is handed for a step of the one model."""
    step = {"name": "echo", "settings": SETTINGS, "replicas": 3, "how": How.NEW, **changed}
    return app.target(Deploy(**step), INGRESS)


def deployment(**changed: Any) -> Any:
    return target(**changed).target._bound_deployment


def test_a_model_asks_for_one_slot_of_its_type_for_each_replica() -> None:
    handed = target()
    assert (handed.name, handed.route_prefix, handed.external_scaler_enabled) == ("echo", "/v2/models/echo", True)
    made = deployment()
    assert (made.name, made.num_replicas, made.func_or_class) == ("replica", 3, Replica)
    assert made.ray_actor_options == {
        "num_cpus": 0,
        "resources": {"vgpu_slot": 1},
        "label_selector": {"vgpu.type": "v100-8q-8GB"},
    }
    assert made.init_args == (SETTINGS,)
    assert made.user_config == SETTINGS


def test_a_model_on_several_slot_types_takes_a_slot_of_any_of_them_and_of_no_other() -> None:
    """Ray's own parser takes the value. Its raylet takes a space after a comma for part of the value (2.60)."""
    model = {"source": "synthetic", "slot": ["v100-8q-8GB", "GRID T4-4Q"], "objective_p95_ms": 200}
    (several,) = config.parse({"models": {"echo": model}}).models
    selector = deployment(settings=settings_of(several)).ray_actor_options["label_selector"]
    assert selector == {"vgpu.type": "in(v100-8q-8GB,t4-4q-4GB)"}
    assert validate_label_selector(selector) is None


def test_rays_own_limits_never_come_before_ours() -> None:
    limits = CONFIG.models[0].serving
    assert deployment().max_ongoing_requests > 2 * limits.max_queue
    assert deployment()._deployment_config.graceful_shutdown_timeout_s > limits.max_deadline_ms / 1000


@pytest.mark.parametrize(
    ("changed", "is_the_same"),
    [
        ({"objective_p95_ms": 100.0}, True),
        ({"serving": {**SETTINGS["serving"], "max_queue": 7}}, True),
        ({"parameters": {"base_us": 1}}, False),
        ({"slot": ["t4-4q-4GB"]}, False),
    ],
)
def test_ray_replaces_replicas_for_what_they_cannot_take_in_and_for_nothing_else(
    changed: dict[str, Any], is_the_same: bool
) -> None:
    """Ray replaces them where the version or the actor's options change; see its DeploymentVersion."""
    before, after = deployment(), deployment(settings={**SETTINGS, **changed})
    alike = (before.version, before.ray_actor_options) == (after.version, after.ray_actor_options)
    assert alike is is_the_same
    assert before.user_config != after.user_config


@pytest.mark.parametrize("how", list(How))
def test_an_old_replica_goes_before_its_successor_runs_only_where_there_is_no_other_way(how: How) -> None:
    assert deployment(how=how)._deployment_config.max_surge_percent == (0 if how is How.IN_PLACE else 25)


def test_a_model_may_have_no_replica_and_ray_is_told_so() -> None:
    """Ray's own decorator refuses 0; its controller reads the configuration from these bytes."""
    written = deployment(replicas=0)._deployment_config.to_proto_bytes()
    read = DeploymentConfig.from_proto_bytes(written)
    assert (read.num_replicas, read.user_config) == (0, SETTINGS)


def test_the_gateway_holds_no_slot_runs_on_the_head_and_is_never_replaced() -> None:
    settings = changes.gateway_settings(CONFIG, {})
    handed = target(name=config.GATEWAY, settings=settings, replicas=1)
    assert (handed.name, handed.route_prefix, handed.external_scaler_enabled) == (config.GATEWAY, "/", False)
    made = handed.target._bound_deployment
    assert (made.name, made.func_or_class) == (config.GATEWAY, Gateway)
    assert made.ray_actor_options["resources"] == {"vgpu_head": 0.001}
    assert (made.init_args, made.user_config) == ((settings, "http://127.0.0.1:8000"), settings)
    other = deployment(name=config.GATEWAY, settings={"models": {}, "awaited": []}, replicas=1)
    assert made.version == other.version
    assert made.version is not None


def test_an_ingress_on_all_addresses_is_reached_on_loopback() -> None:
    assert Ingress(host="0.0.0.0", port=8000).url == "http://127.0.0.1:8000"
    assert Ingress(host="10.0.0.7", port=80).url == "http://10.0.0.7:80"
