"""Selectors mean what they mean in Kubernetes, and an unreadable one is refused."""

import pytest

from autoscaler.embedded.apiserver import selectors
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.resources import EVENTS, NODES, PODS

_LABELLED = {
    "bare": {"metadata": {}},
    "web": {"metadata": {"labels": {"app": "web", "vgpu.type": "v100-8q-8GB"}}},
    "batch": {"metadata": {"labels": {"app": "batch", "example.com/tier": ""}}},
}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", ["bare", "web", "batch"]),
        ("app=web", ["web"]),
        ("app==web", ["web"]),
        ("app!=web", ["bare", "batch"]),
        ("app", ["web", "batch"]),
        ("!app", ["bare"]),
        ("app in (web,batch)", ["web", "batch"]),
        ("app in ( web )", ["web"]),
        ("app notin (web)", ["bare", "batch"]),
        ("app,app!=batch", ["web"]),
        ("app in (web,batch),vgpu.type=v100-8q-8GB", ["web"]),
        ("example.com/tier=", ["batch"]),
    ],
)
def test_a_label_selector_chooses_objects(selector: str, expected: list[str]) -> None:
    matches = selectors.parse_labels(selector)
    assert [name for name, item in _LABELLED.items() if matches(item)] == expected


@pytest.mark.parametrize("selector", ["a=b=c", "a in web", "=b", "a in (b", "a,,b", "a>1"])
def test_an_unreadable_label_selector_is_a_bad_request(selector: str) -> None:
    with pytest.raises(ApiError) as refusal:
        selectors.parse_labels(selector)
    assert (refusal.value.code, refusal.value.reason) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("selector", "text", "expected"),
    [
        (None, None, []),
        ({}, "", ["bare", "web", "batch"]),
        ({"matchLabels": {"app": "web"}}, "app=web", ["web"]),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, "app in (web)", ["web"]),
        (
            {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
            "app notin (web)",
            ["bare", "batch"],
        ),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "app", ["web", "batch"]),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, "!app", ["bare"]),
    ],
)
def test_an_objects_selector_means_the_same_as_its_text(
    selector: selectors.Json | None, text: str | None, expected: list[str]
) -> None:
    matches = selectors.parse_label_selector(selector)
    assert [name for name, item in _LABELLED.items() if matches(item)] == expected
    if selector is not None and text is not None:
        assert selectors.render_label_selector(selector) == text
        by_text = selectors.parse_labels(text)
        assert [name for name, item in _LABELLED.items() if by_text(item)] == expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", ["waiting", "bound"]),
        ("spec.nodeName=", ["waiting"]),
        ("spec.nodeName!=", ["bound"]),
        ("spec.nodeName=n1,status.phase!=Failed", ["bound"]),
        ("metadata.name=bound", ["bound"]),
        ("metadata.namespace==default", ["waiting", "bound"]),
    ],
)
def test_a_field_selector_chooses_pods(selector: str, expected: list[str]) -> None:
    pods = [
        {"metadata": {"name": "waiting", "namespace": "default"}, "spec": {}, "status": {"phase": "Pending"}},
        {"metadata": {"name": "bound", "namespace": "default"}, "spec": {"nodeName": "n1"}, "status": {}},
    ]
    matches = selectors.parse_fields(PODS, selector)
    assert [item["metadata"]["name"] for item in pods if matches(item)] == expected


def test_a_flag_is_selected_by_its_word_and_an_events_source_by_its_component() -> None:
    assert selectors.parse_fields(NODES, "spec.unschedulable=true")({"spec": {"unschedulable": True}})
    assert selectors.parse_fields(EVENTS, "source=kubelet")({"source": {"component": "kubelet"}})


@pytest.mark.parametrize("selector", ["spec.hostname=a", "status.phase", "status.phase>1"])
def test_a_field_that_cannot_be_selected_by_is_a_bad_request(selector: str) -> None:
    with pytest.raises(ApiError) as refusal:
        selectors.parse_fields(PODS, selector)
    assert refusal.value.code == 400
