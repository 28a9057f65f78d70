"""What a request asks leave for, read from its method, path and query alone, whether or not such a kind exists.

The reading is that of NewRequestInfo in kubernetes apiserver/pkg/endpoints/request/requestinfo.go: authorization comes
before routing, so that who may not ask is not told either what is served.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_NAMESPACE = ("status", "finalize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """One request: about a kind of object where `resource` is set, else about a path."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def combined(self) -> str:
        """The resource as rules name it: `deployments`, `deployments/scale`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def qualified(self) -> str:
        """The resource as the beginning of a refusal names it: `deployments.apps`."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


def parse(method: str, path: str, query: Mapping[str, str]) -> Attributes:
    """Read a request's attributes."""
    match [word for word in path.split("/") if word]:
        case ["api", _, *words] if words:
            group = ""
        case ["apis", group, _, *words] if words:
            pass
        case _:
            return Attributes(verb=method.lower(), path=path)
    namespace = words[1] if words[0] == "namespaces" and len(words) > 1 else ""
    if namespace and len(words) > 2 and words[2] not in _OF_NAMESPACE:
        words = words[2:]
    resource, name, subresource = (*words, "", "")[:3]
    verb = _VERBS.get(method, "")
    if not name and verb == "get":
        verb = "watch" if query.get("watch", "").lower() in ("true", "1") else "list"
        name = _selected_name(query.get("fieldSelector", ""))
    elif not name and verb == "delete":
        verb = "deletecollection"
    about = {"group": group, "resource": resource, "subresource": subresource, "namespace": namespace}
    return Attributes(verb=verb, name=name, path=path, **about)


def _selected_name(fields: str) -> str:
    """A list of the one object of a name is allowed where that name is."""
    found = re.search(r"(?:^|,)metadata\.name==?([^,]+)", fields)
    return found[1] if found else ""
