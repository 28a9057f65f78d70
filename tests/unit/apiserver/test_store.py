"""The store: versions, identity, concurrency, and a past that can be read back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.embedded.apiserver import deletion, resources
from autoscaler.embedded.apiserver.deletion import DeleteOptions
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.resources import CONFIG_MAPS, DEPLOYMENTS, LEASES, NAMESPACES, NODES, PODS
from autoscaler.embedded.apiserver.store import Store
from tests.unit.apiserver import build


def _refusal(call: Any, *given: Any, **named: Any) -> tuple[int, str, str]:
    with pytest.raises(ApiError) as refusal:
        call(*given, **named)
    return refusal.value.code, refusal.value.reason, refusal.value.message


def test_a_created_object_has_what_only_the_server_can_say() -> None:
    store = build.store()
    sent = build.pod() | {"status": {"phase": "Running"}}
    sent["metadata"] |= {"uid": "mine", "creationTimestamp": "2020-01-01T00:00:00Z", "generation": 7}
    pod = store.create(PODS, "default", sent)
    assert pod["metadata"] == {
        "name": "p",
        "namespace": "default",
        "uid": pod["metadata"]["uid"],
        "resourceVersion": "5",
        "creationTimestamp": "2027-01-15T08:00:00Z",
    }
    assert pod["metadata"]["uid"] not in ("", "mine")
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")


def test_a_nodes_status_may_be_given_at_creation() -> None:
    status = {"capacity": {"nvidia.com/gpu": "2"}}
    node = build.store().create(NODES, "", {"metadata": {"name": "n"}, "status": status})
    assert node["status"] == status


def test_a_generated_name_has_five_letters_more() -> None:
    store = build.store()
    body = build.pod() | {"metadata": {"generateName": "w-"}}
    names = {store.create(PODS, "default", body)["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("w-") and len(name) == 7 for name in names)


def test_limits_are_requested_in_full_where_nothing_else_is() -> None:
    body = build.pod()
    body["spec"]["containers"][0]["resources"] = {
        "limits": {"nvidia.com/gpu": "1", "cpu": "2"},
        "requests": {"cpu": "1"},
    }
    pod = build.store().create(PODS, "default", body)
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"nvidia.com/gpu": "1", "cpu": "1"}


@pytest.mark.parametrize(
    ("resource", "namespace", "body", "expected"),
    [
        (PODS, "default", build.pod("taken"), (409, "AlreadyExists", 'pods "taken" already exists')),
        (PODS, "gone", build.pod(), (404, "NotFound", 'namespaces "gone" not found')),
        (
            PODS,
            "default",
            build.pod("Bad_Name"),
            (
                422,
                "Invalid",
                'Pod "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain '
                "must consist of lower case alphanumeric characters, '-' or '.'",
            ),
        ),
        (
            PODS,
            "default",
            {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}},
            (422, "Invalid", 'Pod "p" is invalid: spec.containers[0].image: Required value'),
        ),
        (
            CONFIG_MAPS,
            "default",
            {"data": {}},
            (
                422,
                "Invalid",
                'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
            ),
        ),
        (
            DEPLOYMENTS,
            "default",
            build.deployment("d", replicas=-1),
            (
                422,
                "Invalid",
                'Deployment.apps "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
            ),
        ),
        (PODS, "default", {"kind": "Node", "metadata": {"name": "p"}}, None),
        (PODS, "default", {"metadata": {"name": "p", "namespace": "kube-system"}}, None),
        (PODS, "default", {"metadata": {"name": "p", "resourceVersion": "1"}}, None),
        (PODS, "default", {"metadata": {"name": "p", "labels": {"a": 1}}}, None),
        (PODS, "default", {"metadata": []}, None),
        (DEPLOYMENTS, "default", {"metadata": {"name": "d"}, "spec": {"replicas": "3"}}, None),
        (LEASES, "default", {"metadata": {"name": "l"}, "spec": {"renewTime": "yesterday"}}, None),
        (NODES, "", "text", None),
    ],
)
def test_what_may_not_be_created_is_refused_as_the_real_server_does(
    resource: resources.Resource, namespace: str, body: Any, expected: tuple[int, str, str] | None
) -> None:
    store = build.store()
    store.create(PODS, "default", build.pod("taken"))
    refused = _refusal(store.create, resource, namespace, body)
    assert refused[:2] == (400, "BadRequest") if expected is None else refused == expected
    assert store.version == 5


def test_a_selector_must_fit_its_own_template() -> None:
    body = build.deployment()
    body["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    code, reason, message = _refusal(build.store().create, DEPLOYMENTS, "default", body)
    assert (code, reason) == (422, "Invalid")
    assert "`selector` does not match template `labels`" in message


def _annotated(value: str, **about: Any) -> Any:
    def change(old: Any) -> Any:
        return old | {"metadata": old["metadata"] | {"annotations": {"a": value}} | about}

    return change


def test_a_write_that_names_an_old_version_is_refused_and_one_that_names_none_is_not() -> None:
    store = build.store()
    first = store.create(PODS, "default", build.pod())
    store.update(PODS, "default", "p", _annotated("1"))
    stale = _annotated("2", resourceVersion=first["metadata"]["resourceVersion"])
    assert _refusal(store.update, PODS, "default", "p", stale) == (
        409,
        "Conflict",
        'Operation cannot be fulfilled on pods "p": the object has been modified; '
        "please apply your changes to the latest version and try again",
    )
    last = store.update(PODS, "default", "p", _annotated("3", resourceVersion=""))
    assert last["metadata"]["annotations"] == {"a": "3"}


def test_a_write_to_another_object_of_the_same_name_is_refused() -> None:
    store = build.store()
    store.create(PODS, "default", build.pod())
    assert _refusal(store.update, PODS, "default", "p", _annotated("1", uid="another"))[:2] == (409, "Conflict")


def test_a_write_that_changes_nothing_leaves_no_trace() -> None:
    store = build.store()
    pod = store.create(PODS, "default", build.pod())
    assert store.update(PODS, "default", "p", lambda old: old) == pod
    assert store.version == 5


def test_what_the_server_decided_cannot_be_changed_by_a_write() -> None:
    store = build.store()
    pod = store.create(DEPLOYMENTS, "default", build.deployment())
    bold = _annotated(
        "1", creationTimestamp="2020-01-01T00:00:00Z", generation=9, deletionTimestamp="2020-01-01T00:00:00Z"
    )
    changed = store.update(DEPLOYMENTS, "default", "d", bold)
    assert changed["metadata"] == pod["metadata"] | {"annotations": {"a": "1"}, "resourceVersion": "6"}


def test_generation_counts_changes_of_the_spec_alone() -> None:
    store = build.store()
    store.create(DEPLOYMENTS, "default", build.deployment())
    store.update(DEPLOYMENTS, "default", "d", _annotated("1"))
    store.update(DEPLOYMENTS, "default", "d", lambda old: old | {"status": {"replicas": 3}}, part="status")
    again = store.update(DEPLOYMENTS, "default", "d", lambda old: build.deployment())
    assert again["metadata"]["generation"] == 1  # the same spec, though its defaults were not repeated
    grown = store.update(DEPLOYMENTS, "default", "d", lambda old: build.deployment(replicas=2))
    assert grown["metadata"]["generation"] == 2


def test_status_and_spec_are_written_apart() -> None:
    store = build.store()
    store.create(DEPLOYMENTS, "default", build.deployment(replicas=1))

    def both(old: Any) -> Any:
        return old | {"spec": old["spec"] | {"replicas": 5}, "status": {"replicas": 4}}

    by_status = store.update(DEPLOYMENTS, "default", "d", both, part="status")
    assert (by_status["spec"]["replicas"], by_status["status"]) == (1, {"replicas": 4})
    by_spec = store.update(DEPLOYMENTS, "default", "d", lambda old: both(old) | {"status": {"replicas": 9}})
    assert (by_spec["spec"]["replicas"], by_spec["status"]) == (5, {"replicas": 4})


def test_a_pods_spec_is_fixed_but_for_its_images() -> None:
    store = build.store()
    store.create(PODS, "default", build.pod())

    def moved(old: Any) -> Any:
        return old | {"spec": old["spec"] | {"nodeName": "n1"}}

    assert _refusal(store.update, PODS, "default", "p", moved)[:2] == (422, "Invalid")

    def newer(old: Any) -> Any:
        return old | {"spec": old["spec"] | {"containers": [old["spec"]["containers"][0] | {"image": "i:2"}]}}

    assert store.update(PODS, "default", "p", newer)["spec"]["containers"][0]["image"] == "i:2"


def test_a_deployments_selector_is_fixed() -> None:
    store = build.store()
    store.create(DEPLOYMENTS, "default", build.deployment())
    other = build.deployment("other") | {"metadata": {"name": "d"}}
    code, _, message = _refusal(store.update, DEPLOYMENTS, "default", "d", lambda old: other)
    assert (code, "field is immutable" in message) == (422, True)


def test_nothing_new_comes_into_a_namespace_that_is_ending() -> None:
    store = build.store()
    store.create(NAMESPACES, "", {"metadata": {"name": "old"}})
    deletion.delete(store, NAMESPACES, "", "old", DeleteOptions())
    assert _refusal(store.create, PODS, "old", build.pod())[:2] == (403, "Forbidden")


_STEP = st.tuples(st.sampled_from(["create", "update", "delete"]), st.integers(0, 3))


def _take(store: Store, verb: str, which: int, turn: int) -> None:
    name = f"c{which}"
    try:
        if verb == "create":
            store.create(CONFIG_MAPS, "default", {"metadata": {"name": name}})
        elif verb == "update":
            store.update(CONFIG_MAPS, "default", name, _annotated(str(turn)))
        else:
            deletion.delete(store, CONFIG_MAPS, "default", name, DeleteOptions())
    except ApiError:
        return


@given(st.lists(_STEP, max_size=25))
def test_any_version_still_in_the_history_can_be_listed_as_it_was(steps: list[tuple[str, int]]) -> None:
    store = build.store()
    snapshots = {store.version: store.list(CONFIG_MAPS)}
    for turn, (verb, which) in enumerate(steps):
        _take(store, verb, which, turn)
        snapshots[store.version] = store.list(CONFIG_MAPS)
    assert {version: store.list(CONFIG_MAPS, version=version) for version in snapshots} == snapshots


def test_a_version_that_has_left_the_history_is_expired() -> None:
    store = build.store(history_limit=5)
    for turn in range(12):
        store.create(CONFIG_MAPS, "default", {"metadata": {"name": f"c{turn}"}})
    assert _refusal(store.list, CONFIG_MAPS, version=2)[:2] == (410, "Expired")
    assert len(store.list(CONFIG_MAPS, version=store.version - 5)) == 7
