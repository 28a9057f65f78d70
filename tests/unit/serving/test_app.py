"""How applications are handed to Ray Serve; no cluster is started."""

from ray._private.label_utils import validate_label_selector

from serving import app, config
from serving.gateway import Gateway
from serving.replica import Replica

INGRESS = app.Ingress(host="127.0.0.1", port=8000)
CONFIG = config.parse(
    {
        "models": {
            "echo": {
                "kind": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200, "replicas": 3,
                "serving": {"max_queue": 100, "max_deadline_ms": 2000},
            }
        }
    }
)  # fmt: skip


def test_a_model_asks_for_one_slot_of_its_type_for_each_replica() -> None:
    application = app.model_application(CONFIG.models[0])
    deployment = application._bound_deployment
    assert (deployment.name, deployment.num_replicas, deployment.func_or_class) == ("replica", 3, Replica)
    assert deployment.ray_actor_options == {
        "num_cpus": 0,
        "resources": {"vgpu_slot": 1},
        "label_selector": {"vgpu.type": "v100-8q-8GB"},
    }
    assert deployment.init_args == (CONFIG.models[0].model_dump(),)


def test_a_model_on_several_slot_types_takes_a_slot_of_any_of_them_and_of_no_other() -> None:
    """Ray's own parser takes the value, so its raylet does."""
    model = {"kind": "synthetic", "slot": ["v100-8q-8GB", "GRID T4-4Q"], "objective_p95_ms": 200}
    application = app.model_application(config.parse({"models": {"echo": model}}).models[0])
    selector = application._bound_deployment.ray_actor_options["label_selector"]
    assert selector == {"vgpu.type": "in(v100-8q-8GB, t4-4q-4GB)"}
    assert validate_label_selector(selector) is None


def test_rays_own_limits_never_come_before_ours() -> None:
    deployment = app.model_application(CONFIG.models[0])._bound_deployment
    limits = CONFIG.models[0].serving
    assert deployment.max_ongoing_requests > 2 * limits.max_queue
    assert deployment._deployment_config.graceful_shutdown_timeout_s > limits.max_deadline_ms / 1000


def test_the_gateway_holds_no_slot_and_runs_on_the_head() -> None:
    deployment = app.gateway_application(CONFIG, INGRESS)._bound_deployment
    assert (deployment.name, deployment.func_or_class) == (config.GATEWAY, Gateway)
    assert deployment.ray_actor_options["resources"] == {"vgpu_head": 0.001}
    assert deployment.init_args == (CONFIG.model_dump(), "http://127.0.0.1:8000", [])


def test_a_model_that_may_sleep_is_known_to_the_gateway_and_deployed_as_ray_can() -> None:
    """Ray's own decorator refuses 0; `deploy` takes the one back before it starts."""
    model = {"kind": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200, "autoscaling": {"min_replicas": 0}}
    sleeper = config.parse({"models": {"echo": model}})
    assert app.model_application(sleeper.models[0])._bound_deployment.num_replicas == 1
    assert app.gateway_application(sleeper, INGRESS)._bound_deployment.init_args[2] == ["echo"]
