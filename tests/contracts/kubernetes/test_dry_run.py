"""A dry run is answered as the real one would be, and changes nothing."""

from typing import Any

import pytest
from kubernetes.client.api_client import ApiClient

from tests.contracts.kubernetes import build
from tests.contracts.kubernetes.wire import MERGE, call, ok, refusal


@pytest.fixture
def maps(api: ApiClient, namespace: str) -> str:
    """Where the namespace's config maps are, one of them made."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    ok(call(api, "POST", path, build.config_map("there")))
    return path


def _all(api: ApiClient, maps: str) -> Any:
    return ok(call(api, "GET", maps))["items"]


def test_nothing_is_made_changed_or_deleted(api: ApiClient, maps: str) -> None:
    before = _all(api, maps)
    made = ok(call(api, "POST", maps, build.config_map("new"), dryRun="All"))
    assert (made["metadata"]["name"], "uid" in made["metadata"], made["data"]) == ("new", True, {"k": "v"})
    patched = ok(call(api, "PATCH", f"{maps}/there", {"data": {"k": "w"}}, content_type=MERGE, dryRun="All"))
    assert patched["data"] == {"k": "w"}
    replaced = ok(call(api, "PUT", f"{maps}/there", build.config_map("there") | {"data": {}}, dryRun="All"))
    assert not replaced.get("data")
    ok(call(api, "DELETE", f"{maps}/there", dryRun="All"))
    ok(call(api, "DELETE", f"{maps}/there", {"dryRun": ["All"]}))
    ok(call(api, "DELETE", maps, dryRun="All"))
    assert _all(api, maps) == before


def test_what_would_be_refused_is_refused(api: ApiClient, maps: str) -> None:
    assert refusal(call(api, "POST", maps, build.config_map("there"), dryRun="All")) == (409, "AlreadyExists")
    assert refusal(call(api, "POST", maps, build.config_map("Bad_Name"), dryRun="All")) == (422, "Invalid")
    assert refusal(call(api, "PATCH", f"{maps}/none", {}, content_type=MERGE, dryRun="All")) == (404, "NotFound")


def test_all_is_the_only_kind_of_dry_run(api: ApiClient, maps: str) -> None:
    assert call(api, "POST", maps, build.config_map("new"), dryRun="Some")[0] in (400, 422)
    assert ok(call(api, "POST", maps, build.config_map("new")))["metadata"]["name"] == "new"
