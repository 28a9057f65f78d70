"""The steps from what is deployed to what the file wants: by example, and whatever the two are."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from serving import changes, config
from serving.changes import Delete, Deploy, How
from serving.config import GATEWAY, ServingConfig
from serving.deployed import Deployed, State, read, settings_of
from tests.unit.serving.ray_applications import FakeRay

ONE = {"kind": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200}
TWO = {**ONE, "parameters": {"base_us": 1}}
MAY_SLEEP = {**ONE, "autoscaling": {"min_replicas": 0}}


def wanted(**models: dict[str, Any]) -> ServingConfig:
    return config.parse({"models": models})


def running(before: ServingConfig) -> FakeRay:
    """A Ray on which a file was deployed, and all of it runs."""
    ray = FakeRay()
    ray.apply(changes.difference({}, before))
    ray.handed.clear()
    return ray


def names_and_ways(steps: tuple[changes.Step, ...]) -> list[tuple[str, str]]:
    return [(step.name, step.how if isinstance(step, Deploy) else "deleted") for step in steps]


def test_on_a_bare_ray_every_model_is_deployed_and_then_the_gateway() -> None:
    file = wanted(one={**ONE, "replicas": 2}, dozy=MAY_SLEEP)
    assert changes.difference({}, file) == (
        Deploy(name="one", settings=settings_of(file.models[0]), replicas=2, how=How.NEW),
        Deploy(name="dozy", settings=settings_of(file.models[1]), replicas=0, how=How.NEW),
        Deploy(name=GATEWAY, settings=changes.gateway_settings(file, {}), replicas=1, how=How.NEW),
    )
    assert changes.gateway_settings(file, {})["awaited"] == ["one"]


def test_what_is_as_it_should_be_has_no_step_also_for_a_deployer_that_starts_anew() -> None:
    file = wanted(one=ONE, two=TWO)
    assert changes.difference(running(file).read(), file) == ()


def test_a_count_in_the_file_is_for_the_first_deployment_only() -> None:
    ray = running(wanted(one=ONE))
    ray.scale("one", 5)
    assert changes.difference(ray.read(), wanted(one={**ONE, "replicas": 3})) == ()


def test_a_changed_objective_or_limit_is_taken_in_by_replicas_that_run_and_their_count_stays() -> None:
    ray = running(wanted(one=ONE, two=TWO))
    ray.scale("one", 4)
    after = wanted(one={**ONE, "objective_p95_ms": 100}, two=TWO)
    (step,) = changes.difference(ray.read(), after)
    assert step == Deploy(name="one", settings=settings_of(after.models[0]), replicas=4, how=How.LIVE)
    limits = wanted(one={**ONE, "serving": {"max_queue": 7}}, two=TWO)
    assert names_and_ways(changes.difference(ray.read(), limits)) == [("one", "live"), (GATEWAY, "live")]


def test_another_source_parameter_or_slot_replaces_the_replicas_and_asleep_stays_asleep() -> None:
    ray = running(wanted(one=MAY_SLEEP, two=ONE))
    for changed in (TWO, {**ONE, "slot": "t4-4q-4GB"}):
        after = wanted(one={**MAY_SLEEP, **changed}, two=ONE)
        (step,) = changes.difference(ray.read(), after)
        assert step == Deploy(name="one", settings=settings_of(after.models[0]), replicas=0, how=How.ROLLING)


def test_a_removed_model_leaves_after_the_gateway_has_forgotten_it() -> None:
    ray = running(wanted(one=ONE, two=TWO))
    steps = changes.difference(ray.read(), wanted(two=TWO))
    assert names_and_ways(steps) == [(GATEWAY, "live"), ("one", "deleted")]
    assert isinstance(steps[0], Deploy)
    assert list(steps[0].settings["models"]) == ["two"]


def test_a_new_model_makes_the_server_unready_at_no_time() -> None:
    ray = running(wanted(one=ONE))
    ray.waits = {"two"}
    after = wanted(one=ONE, two=TWO)
    steps = changes.difference(ray.read(), after)
    assert names_and_ways(steps) == [("two", "new"), (GATEWAY, "live")]
    ray.apply(steps)
    assert ray.read()[GATEWAY].settings["awaited"] == ["one"]  # type: ignore[index]  # it was just given some
    assert changes.difference(ray.read(), after) == ()
    ray.applications["two"] = replace(ray.applications["two"], state=State.RUNNING)
    (step,) = changes.difference(ray.read(), after)
    assert isinstance(step, Deploy)
    assert (step.name, step.settings["awaited"]) == (GATEWAY, ["one", "two"])


def test_strangers_are_left_alone_but_for_one_with_a_models_name() -> None:
    strange = Deployed(state=State.RUNNING, target=3)
    seen = {**running(wanted(one=ONE)).read(), "somebodys": strange, "two": strange}
    steps = changes.difference(seen, wanted(one=ONE, two=TWO))
    assert names_and_ways(steps) == [("two", "rolling"), (GATEWAY, "live")]


def test_what_is_being_deleted_is_deployed_anew_or_not_deleted_twice() -> None:
    ray = running(wanted(one=ONE, two=TWO))
    ray.applications["one"] = replace(ray.applications["one"], state=State.DELETING)
    assert names_and_ways(changes.difference(ray.read(), wanted(one=ONE, two=TWO))) == [("one", "new")]
    assert names_and_ways(changes.difference(ray.read(), wanted(two=TWO))) == [(GATEWAY, "live")]


def test_an_application_that_ray_has_not_built_yet_is_waited_for() -> None:
    seen = {name: Deployed(state=State.DEPLOYING, exists=False) for name in ("one", GATEWAY)}
    assert changes.difference(seen, wanted(one=ONE)) == ()


def test_a_rolling_change_without_room_is_made_in_place() -> None:
    ray = running(wanted(one=ONE))
    waiting = replace(ray.applications["one"], state=State.DEPLOYING, replicas=2, unplaced=1)
    assert changes.lacks_room(waiting)
    ray.applications["one"] = waiting
    (step,) = changes.difference(ray.read(), wanted(one=ONE), without_room={"one"})
    assert step == Deploy(name="one", settings=waiting.settings or {}, replicas=1, how=How.IN_PLACE)


def test_only_a_replica_too_many_that_no_worker_took_is_a_lack_of_room() -> None:
    begins = Deployed(state=State.DEPLOYING, settings=ONE, target=1, replicas=1, unplaced=1)
    rolls = Deployed(state=State.DEPLOYING, settings=ONE, target=1, replicas=2, unplaced=0)
    grows = Deployed(state=State.RUNNING, settings=ONE, target=3, replicas=4, unplaced=1)
    leaves = Deployed(state=State.DEPLOYING, settings=ONE, target=0, replicas=1, unplaced=1)
    assert [changes.lacks_room(seen) for seen in (begins, rolls, grows, leaves)] == [False] * 4


NAMES = st.sampled_from(["a", "b", "c", "d"])
MODELS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["synthetic", "file_type"]),
        "slot": st.sampled_from(["v100-8q-8GB", "t4-4q-4GB"]),
        "objective_p95_ms": st.sampled_from([100, 200]),
        "serving": st.sampled_from([{}, {"max_queue": 7}]),
        "autoscaling": st.sampled_from([{}, {"min_replicas": 0}]),
    }
)
FILES = st.dictionaries(NAMES, MODELS, min_size=1).map(lambda models: config.parse({"models": models}))


@given(before=FILES, after=FILES, counts=st.dictionaries(NAMES, st.integers(0, 9)))
def test_whatever_changes_it_settles_touches_only_what_differs_and_keeps_every_count(
    before: ServingConfig, after: ServingConfig, counts: dict[str, int]
) -> None:
    ray = running(before)
    for name in counts.keys() & ray.applications.keys():
        ray.scale(name, counts[name])
    seen = ray.read()
    steps = changes.difference(seen, after)
    old = {model.name: settings_of(model) for model in before.models}
    new = {model.name: settings_of(model) for model in after.models}
    touched = [step.name for step in steps if step.name != GATEWAY]
    assert sorted(touched) == sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    assert {step.name for step in steps if isinstance(step, Delete)} == old.keys() - new.keys()
    kept = {step.name: step.replicas for step in steps if isinstance(step, Deploy) and step.name in old}
    assert kept == {name: seen[name].target for name in kept}
    order = [
        ("deleted" if isinstance(step, Delete) else "gateway" if step.name == GATEWAY else "model") for step in steps
    ]
    assert order == sorted(order, key=["model", "gateway", "deleted"].index)
    ray.apply(steps)
    ray.apply(changes.difference(ray.read(), after))  # the gateway waits for new models once they run
    assert changes.difference(ray.read(), after) == ()
    assert ray.read()[GATEWAY].settings == changes.gateway_settings(after, {})


DETAILS = {
    "applications": {
        "one": {
            "status": "DEPLOYING",
            "message": "",
            "deployments": {
                "replica": {
                    "message": "waits for a node",
                    "target_num_replicas": 2,
                    "deployment_config": {"user_config": {"name": "one", "objective_p95_ms": 200.0}},
                    "replicas": [
                        {"state": "RUNNING", "node_id": "n1"},
                        {"state": "STARTING", "node_id": None},
                        {"state": "STARTING", "node_id": "n2"},
                        {"state": "STOPPING", "node_id": "n3"},
                    ],
                }
            },
        },
        "new": {"status": "DEPLOYING", "message": "", "deployments": {}},
        "strange": {"status": "RUNNING", "message": "fine", "deployments": {"other": {}}},
        GATEWAY: {
            "status": "RUNNING",
            "message": "",
            "deployments": {
                GATEWAY: {
                    "message": "",
                    "target_num_replicas": 1,
                    "deployment_config": {"user_config": {"models": {}, "awaited": []}},
                    "replicas": [],
                }
            },
        },
        "older": {
            "status": "RUNNING",
            "message": "",
            "deployments": {
                "replica": {"message": "", "target_num_replicas": 1, "deployment_config": {}, "replicas": []}
            },
        },
    }
}


def test_applications_are_read_from_what_ray_tells() -> None:
    assert read(DETAILS) == {
        "one": Deployed(
            state=State.DEPLOYING,
            message="waits for a node",
            settings={"name": "one", "objective_p95_ms": 200.0},
            target=2,
            replicas=3,
            unplaced=1,
        ),
        "new": Deployed(state=State.DEPLOYING, exists=False),
        "strange": Deployed(state=State.RUNNING, message="fine"),
        GATEWAY: Deployed(state=State.RUNNING, settings={"models": {}, "awaited": []}, target=1),
        "older": Deployed(state=State.RUNNING, target=1),
    }
