"""Which request is about what."""

import pytest

from autoscaler.embedded.apiserver import discovery, paths, resources
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.paths import Target
from autoscaler.embedded.apiserver.resources import DEPLOYMENTS, LEASES, NAMESPACES, NODES, PODS


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        ("GET /api/v1/nodes", Target(verb="list", resource=NODES)),
        ("GET /api/v1/nodes/n1", Target(verb="get", resource=NODES, name="n1")),
        ("PATCH /api/v1/nodes/n1/status", Target(verb="patch", resource=NODES, name="n1", subresource="status")),
        ("GET /api/v1/pods", Target(verb="list", resource=PODS)),
        ("DELETE /api/v1/namespaces/x/pods", Target(verb="deletecollection", resource=PODS, namespace="x")),
        ("POST /api/v1/namespaces/x/pods", Target(verb="create", resource=PODS, namespace="x")),
        ("PUT /api/v1/namespaces/x/pods/p", Target(verb="update", resource=PODS, namespace="x", name="p")),
        (
            "POST /api/v1/namespaces/x/pods/p/binding",
            Target(verb="create", resource=PODS, namespace="x", name="p", subresource="binding"),
        ),
        ("GET /api/v1/namespaces", Target(verb="list", resource=NAMESPACES)),
        ("GET /api/v1/namespaces/x", Target(verb="get", resource=NAMESPACES, name="x")),
        ("PUT /api/v1/namespaces/x/status", Target(verb="update", resource=NAMESPACES, name="x", subresource="status")),
        (
            "PUT /apis/apps/v1/namespaces/x/deployments/d/scale",
            Target(verb="update", resource=DEPLOYMENTS, namespace="x", name="d", subresource="scale"),
        ),
        (
            "DELETE /apis/coordination.k8s.io/v1/namespaces/x/leases/l",
            Target(verb="delete", resource=LEASES, namespace="x", name="l"),
        ),
    ],
)
def test_a_path_names_its_subject(request_line: str, expected: Target) -> None:
    method, path = request_line.split()
    assert paths.parse(method, path, {}) == expected


def test_a_list_that_asks_to_watch_is_a_watch() -> None:
    assert paths.parse("GET", "/api/v1/pods", {"watch": "1"}).verb == "watch"
    assert paths.parse("GET", "/api/v1/pods", {"watch": "false"}).verb == "list"


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        ("GET /", 404),
        ("GET /api/v1", 404),
        ("GET /api/v2/pods", 404),
        ("GET /api/v1/endpoints", 404),
        ("GET /apis/apps/v1/pods", 404),
        ("GET /api/v1/pods/p", 404),
        ("GET /api/v1/namespaces/x/nodes", 404),
        ("GET /api/v1/namespaces/x/pods/p/log", 404),
        ("GET /api/v1/nodes/n/status/more", 404),
        ("GET /apis/coordination.k8s.io/v1/namespaces/x/leases/l/status", 404),
        ("POST /api/v1/pods", 405),
        ("PUT /api/v1/nodes", 405),
        ("POST /api/v1/nodes/n", 405),
        ("GET /api/v1/namespaces/x/pods/p/eviction", 405),
        ("DELETE /api/v1/nodes/n/status", 405),
    ],
)
def test_what_is_not_served_is_refused(request_line: str, code: int) -> None:
    method, path = request_line.split()
    with pytest.raises(ApiError) as refusal:
        paths.parse(method, path, {})
    assert refusal.value.code == code


def test_discovery_lists_every_kind_with_its_subresources() -> None:
    listed = {
        f"{prefix}/{entry['name']}"
        for prefix in {resource.prefix for resource in resources.RESOURCES}
        for entry in (discovery.document(prefix, "") or {})["resources"]
    }
    expected = {f"{resource.prefix}/{resource.plural}" for resource in resources.RESOURCES}
    expected |= {
        f"{resource.prefix}/{resource.plural}/{name}"
        for resource in resources.RESOURCES
        for name in resources.subresources(resource)
    }
    assert listed == expected


def test_every_group_of_the_index_has_a_page_and_an_openapi_document() -> None:
    index = discovery.document("/apis", "") or {}
    for group in index["groups"]:
        assert discovery.document(f"/apis/{group['name']}", "") is not None
        assert discovery.document(f"/apis/{group['preferredVersion']['groupVersion']}", "") is not None
    served = (discovery.document("/openapi/v3", "") or {})["paths"]
    for entry in served.values():
        assert discovery.document(entry["serverRelativeURL"], "") is not None
    assert discovery.document("/apis/unknown.example.com/v1", "") is None
