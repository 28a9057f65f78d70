"""What the server, not the client, decides about an object's metadata and which part of it a write may touch.

Every function returns a new object. Objects in the store are shared with readers and never changed in place.
"""

import re
from datetime import UTC, datetime
from typing import Literal

from autoscaler.embedded.apiserver import errors
from autoscaler.embedded.apiserver.resources import Json, Resource

Part = Literal["spec", "status"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_SYSTEM_FIELDS = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def timestamp(now_s: float) -> str:
    """Render a Unix time as the API writes times, to the second."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_deleting(item: Json) -> bool:
    """Tell whether an object waits for its removal."""
    return "deletionTimestamp" in item["metadata"]


def faults(metadata: Json, *, has_free_name: bool = False) -> list[errors.FieldFault]:
    """Check names, labels and owners against the API's grammar."""
    found = []
    name = metadata.get("name", "")
    if not name:
        found.append(errors.required("metadata.name", "name or generateName is required"))
    elif has_free_name:
        if name in (".", "..") or "/" in name or "%" in name:
            found.append(errors.wrong("metadata.name", name, "may not be '.' or '..' nor contain '/' or '%'"))
    elif not _NAME.fullmatch(name):
        why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        found.append(errors.wrong("metadata.name", name, why))
    for key, value in metadata.get("labels", {}).items():
        if not _LABEL_KEY.fullmatch(key):
            found.append(errors.wrong("metadata.labels", key, "not a valid label key"))
        if not _LABEL_VALUE.fullmatch(value):
            why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
            found.append(errors.wrong("metadata.labels", value, why))
    for place, owner in enumerate(metadata.get("ownerReferences", [])):
        missing = [field for field in ("apiVersion", "kind", "name", "uid") if not owner.get(field)]
        found += [errors.required(f"metadata.ownerReferences[{place}].{field}") for field in missing]
    return found


def with_birth(resource: Resource, body: Json, *, name: str, namespace: str, uid: str, now_s: float) -> Json:
    """Give a new object what the server decides at creation."""
    if body["metadata"].get("resourceVersion"):
        raise errors.bad_request("resourceVersion should not be set on objects to be created")
    ignored = (*_SYSTEM_FIELDS, "resourceVersion", "managedFields", "selfLink", "generation")
    metadata = {key: value for key, value in body["metadata"].items() if key not in ignored}
    metadata |= {"name": name} | ({"namespace": namespace} if resource.namespaced else {})
    metadata |= {"uid": uid, "creationTimestamp": timestamp(now_s)}
    if resource.counts_generation:
        metadata["generation"] = 1
    born = body | {"metadata": metadata}
    if resource.has_status and not resource.keeps_status_on_create:
        born["status"] = {}
    if resource.has_status and resource.is_custom:
        del born["status"]
    return born


def with_change(resource: Resource, old: Json, new: Json, part: Part) -> Json:
    """Carry over from the old object everything this write may not touch.

    Raise Conflict where the new object names another version or uid than the old one has.
    """
    name, sent, had = old["metadata"]["name"], new["metadata"], old["metadata"]
    if sent.get("resourceVersion") and sent["resourceVersion"] != had["resourceVersion"]:
        raise errors.stale(resource, name)
    if sent.get("uid") and sent["uid"] != had["uid"]:
        why = f"Precondition failed: UID in precondition: {sent['uid']}, UID in object meta: {had['uid']}"
        raise errors.conflict(resource, name, why)
    system = {key: had[key] for key in (*_SYSTEM_FIELDS, "resourceVersion", "generation") if key in had}
    free = {key: value for key, value in sent.items() if key not in (*system, *_SYSTEM_FIELDS, "managedFields")}
    changed = new | {"metadata": free | system}
    if not resource.has_status:
        return _with_generation(resource, old, changed)
    if part == "status" and resource.is_custom:
        rest = {key: value for key, value in old.items() if key != "status"}
        return rest | ({"status": new["status"]} if "status" in new else {})
    if part == "status":
        return old | {"metadata": _owned(changed["metadata"], had), "status": changed.get("status", {})}
    kept = {"status": old["status"]} if "status" in old else {}
    return _with_generation(resource, old, {k: v for k, v in changed.items() if k != "status"} | kept)


def _owned(metadata: Json, had: Json) -> Json:
    """Ownership is not part of a status."""
    rest = {key: value for key, value in metadata.items() if key != "ownerReferences"}
    return rest | ({"ownerReferences": had["ownerReferences"]} if "ownerReferences" in had else {})


def desired(item: Json) -> Json:
    """Everything of an object that is neither metadata nor status."""
    return {key: value for key, value in item.items() if key not in ("metadata", "status")}


def _with_generation(resource: Resource, old: Json, new: Json) -> Json:
    if resource.counts_generation and desired(new) != desired(old):
        new["metadata"]["generation"] = old["metadata"]["generation"] + 1
    return new


def with_deletion(item: Json, *, grace_s: int, now_s: float) -> Json:
    """Mark an object as waiting for its removal, `grace_s` from now."""
    metadata = dict(item["metadata"])
    if "generation" in metadata and not is_deleting(item):
        metadata["generation"] += 1
    metadata |= {"deletionTimestamp": timestamp(now_s + grace_s), "deletionGracePeriodSeconds": grace_s}
    return item | {"metadata": metadata}
