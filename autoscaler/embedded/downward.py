"""A container's environment as the kubelet makes it from the pod: values, fields of the pod, and $(NAME).

Only what `vgpu.core.allocation` and the worker pools write is understood: names, the node, and annotations. Source:
"Downward API" and "Define Dependent Environment Variables" in the Kubernetes documentation.
"""

import re
from typing import Any

Json = dict[str, Any]

_ANNOTATION = re.compile(r"metadata\.annotations\['(?P<name>[^']+)'\]")
_REFERENCE = re.compile(r"\$\((?P<name>[A-Za-z_][A-Za-z0-9_]*)\)")


class Unresolved(ValueError):
    """An entry that the embedded kubelet does not understand."""


def environment(pod: Json) -> dict[str, str]:
    """Resolve the variables of the pod's first container. Raises `Unresolved`."""
    made: dict[str, str] = {}
    for entry in pod["spec"]["containers"][0].get("env") or ():
        name = entry["name"]
        if "valueFrom" in entry:
            made[name] = _field(pod, name, entry["valueFrom"])
        else:
            # A name that nothing before has stays as it is written.
            made[name] = _REFERENCE.sub(lambda match: made.get(match["name"], match[0]), entry.get("value", ""))
    return made


def _field(pod: Json, name: str, source: Json) -> str:
    path = (source.get("fieldRef") or {}).get("fieldPath", "")
    about = pod["metadata"]
    if match := _ANNOTATION.fullmatch(path):
        return str((about.get("annotations") or {}).get(match["name"], ""))
    known = {
        "metadata.name": about.get("name", ""),
        "metadata.namespace": about.get("namespace", ""),
        "metadata.uid": about.get("uid", ""),
        "spec.nodeName": pod["spec"].get("nodeName", ""),
    }
    if path not in known:
        raise Unresolved(f"variable {name} comes from {source}; the embedded kubelet knows pod fields and annotations")
    return str(known[path])
