"""What a request is about, read from its method, path and query alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.embedded.apiserver import errors, resources
from autoscaler.embedded.apiserver.resources import Resource

_ON_OBJECT = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_ON_COLLECTION = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One request's subject; an empty namespace means all of them, or a cluster-wide kind."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse(method: str, path: str, query: Mapping[str, str]) -> Target:
    """Read the subject of a request; raise NotFound for what is not served, MethodNotAllowed for a wrong verb."""
    match path.strip("/").split("/"):
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise errors.no_such_path()
    resource, namespace, rest = _scope(group, version, rest)
    name, subresource = (*rest, "", "")[:2]
    if len(rest) > 2 or (subresource and subresource not in resources.subresources(resource)):
        raise errors.no_such_path()
    verb = _verb(method, resource, namespace, name, subresource)
    if verb == "list" and query.get("watch", "").lower() in ("true", "1"):
        verb = "watch"
    return Target(verb=verb, resource=resource, namespace=namespace, name=name, subresource=subresource)


def _scope(group: str, version: str, words: list[str]) -> tuple[Resource, str, list[str]]:
    """Split a path after its version into kind, namespace and the rest."""
    namespaced = len(words) > 2 and words[0] == "namespaces" and words[2] not in ("status", "finalize")
    namespace = words[1] if namespaced else ""
    words = words[2:] if namespaced else words
    resource = resources.find(group, version, words[0]) if words else None
    # A namespaced object cannot be named without its namespace, nor a cluster-wide kind within one.
    if resource is None or (namespaced and not resource.namespaced):
        raise errors.no_such_path()
    if resource.namespaced and not namespaced and len(words) > 1:
        raise errors.no_such_path()
    return resource, namespace, words[1:]


def _verb(method: str, resource: Resource, namespace: str, name: str, subresource: str) -> str:
    if subresource in resources.actions(resource):
        verb = "create" if method == "POST" else None
    elif subresource:
        verb = _ON_OBJECT.get(method) if method != "DELETE" else None
    elif name and resource.is_stored:
        verb = _ON_OBJECT.get(method)
    elif method == "POST" and resource.namespaced and not namespace:
        verb = None
    elif not resource.is_stored:
        verb = "create" if method == "POST" else None
    else:
        verb = _ON_COLLECTION.get(method)
    if verb is None:
        raise errors.method_not_allowed()
    return verb
