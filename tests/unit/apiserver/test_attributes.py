"""What a request asks leave for, whether or not such a kind is served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.embedded.apiserver import attributes
from autoscaler.embedded.apiserver.attributes import Attributes


def _on(verb: str, resource: str, **rest: str) -> Attributes:
    return Attributes(verb=verb, resource=resource, **rest)


@pytest.mark.parametrize(
    ("request_line", "query", "expected"),
    [
        ("GET /api/v1/nodes", {}, _on("list", "nodes")),
        ("HEAD /api/v1/nodes/n1", {}, _on("get", "nodes", name="n1")),
        ("GET /api/v1/nodes", {"watch": "1"}, _on("watch", "nodes")),
        ("GET /api/v1/nodes", {"fieldSelector": "metadata.name=n1"}, _on("list", "nodes", name="n1")),
        (
            "GET /api/v1/nodes",
            {"watch": "true", "fieldSelector": "a=b,metadata.name==n1"},
            _on("watch", "nodes", name="n1"),
        ),
        ("GET /api/v1/nodes", {"fieldSelector": "metadata.name!=n1"}, _on("list", "nodes")),
        ("DELETE /api/v1/namespaces/x/pods", {}, _on("deletecollection", "pods", namespace="x")),
        ("DELETE /api/v1/namespaces/x/pods/p", {}, _on("delete", "pods", namespace="x", name="p")),
        ("GET /api/v1/namespaces", {}, _on("list", "namespaces")),
        ("PUT /api/v1/namespaces/x", {}, _on("update", "namespaces", namespace="x", name="x")),
        (
            "PATCH /api/v1/namespaces/x/status",
            {},
            _on("patch", "namespaces", namespace="x", name="x", subresource="status"),
        ),
        (
            "PATCH /apis/apps/v1/namespaces/x/deployments/d/scale",
            {},
            _on("patch", "deployments", group="apps", namespace="x", name="d", subresource="scale"),
        ),
        ("POST /apis/no.such/v9/namespaces/x/things", {}, _on("create", "things", group="no.such", namespace="x")),
        ("GET /apis/apps/v1", {}, Attributes(verb="get")),
        ("GET /api/v1", {}, Attributes(verb="get")),
        ("POST /version", {}, Attributes(verb="post")),
        ("GET /", {}, Attributes(verb="get")),
        ("PROPFIND /api/v1/pods", {}, _on("", "pods")),
    ],
)
def test_a_request_asks_for(request_line: str, query: dict[str, str], expected: Attributes) -> None:
    method, path = request_line.split()
    found = attributes.parse(method, path, query)
    assert found.path == path
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    assert [getattr(found, name) for name in names] == [getattr(expected, name) for name in names]


@given(st.sampled_from(["GET", "POST", "DELETE", "PATCH"]), st.text(alphabet="/apisv1namespaces.x*", max_size=40))
def test_any_path_asks_for_something(method: str, path: str) -> None:
    """Nothing raises, and what is about a kind of object is under /api or /apis."""
    found = attributes.parse(method, path, {})
    assert not found.resource or path.strip("/").startswith("api")
