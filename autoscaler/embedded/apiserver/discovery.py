"""What the server tells of itself: its groups, kinds and version, and just enough OpenAPI for kubectl to write.

The OpenAPI documents hold no schemas. They name the patch calls, which is how kubectl learns that it may leave the
checking of fields to the server instead of fetching a schema to check them itself.
"""

from autoscaler.embedded.apiserver import resources
from autoscaler.embedded.apiserver.resources import SERVED, Json, Resource, Value

VERSION: Json = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.1+emulated",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_SUB_VERBS = ["get", "patch", "update"]


def document(path: str, address: str) -> Json | None:
    """Find the document served at a path; None where there is none."""
    match path.strip("/").split("/"):
        case ["version"]:
            return VERSION
        case ["api"]:
            reachable = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": reachable}
        case ["apis"]:
            groups = [_group(name) for name in _group_names()]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["apis", name] if name in _group_names():
            return {"apiVersion": "v1", **_group(name), "kind": "APIGroup"}
        case ["api", "v1"]:
            return _resource_list("v1")
        case ["apis", name, "v1"] if name in _group_names():
            return _resource_list(f"{name}/v1")
        case ["openapi", "v3", *rest]:
            return _openapi("/".join(rest))
        case _:
            return None


def _group_names() -> list[str]:
    return list(dict.fromkeys(resource.group for resource in SERVED if resource.group))


def _group(name: str) -> Json:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resource_list(api_version: str) -> Json:
    listed = [entry for resource in SERVED if resource.api_version == api_version for entry in _entries(resource)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": listed}


def _entries(resource: Resource) -> list[Json]:
    whole: Json = {"name": resource.plural, "singularName": resource.kind.lower(), "namespaced": resource.namespaced}
    whole |= {"kind": resource.kind, "shortNames": list(resource.short_names)}
    whole |= {"verbs": _VERBS if resource.is_stored else ["create"], "categories": list(resource.categories)}
    return [whole, *(_subresource_entry(resource, name) for name in resources.subresources(resource))]


def _subresource_entry(resource: Resource, name: str) -> Json:
    entry: Json = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
    if action := resources.actions(resource).get(name):
        group, version, kind = action
        entry |= {"kind": kind, "verbs": ["create"]} | ({"group": group, "version": version} if group else {})
    elif name == "scale":
        entry |= {"group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": _SUB_VERBS}
    else:
        entry |= {"kind": resource.kind, "verbs": _SUB_VERBS}
    return entry


def _openapi(path: str) -> Json | None:
    prefixes = list(dict.fromkeys(resource.prefix for resource in SERVED))
    if not path:
        served = {prefix[1:]: {"serverRelativeURL": f"/openapi/v3{prefix}"} for prefix in prefixes}
        return {"paths": served}
    if f"/{path}" not in prefixes:
        return None
    paths = {_object_path(r): {"patch": _patch_operation(r)} for r in SERVED if r.prefix == f"/{path}"}
    told = {"title": "Kubernetes (emulated)", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": told, "paths": paths, "components": {"schemas": {}}}


def _object_path(resource: Resource) -> str:
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    return f"{resource.prefix}{scope}/{resource.plural}/{{name}}"


def _patch_operation(resource: Resource) -> dict[str, Value]:
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("fieldManager", "fieldValidation")
    ]
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return {
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": kind,
    }
