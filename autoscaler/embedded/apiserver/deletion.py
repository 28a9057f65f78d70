"""How an object goes: at once, after a grace period, or once its finalizers are lifted.

A pod bound to a node stays, marked, until the kubelet deletes it with grace 0; a pod no kubelet has seen goes at once.
A namespace stays, marked, until it is empty. What else goes because of it is for `garbage.py` to say.
"""

from dataclasses import dataclass

from autoscaler.embedded.apiserver import errors, metadata, resources
from autoscaler.embedded.apiserver.resources import Json, Resource, Value
from autoscaler.embedded.apiserver.store import Store

PROPAGATION = ("Background", "Foreground", "Orphan")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """What a client may ask of a deletion. Foreground is served as Background."""

    grace_s: int | None = None
    propagation: str = "Background"
    uid: str | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        if self.grace_s is not None and self.grace_s < 0:
            raise errors.bad_request(f"gracePeriodSeconds {self.grace_s} must be 0 or more")
        if self.propagation not in PROPAGATION:
            raise errors.bad_request(f"propagationPolicy {self.propagation} must be one of {', '.join(PROPAGATION)}")


def parse_options(query: dict[str, str], body: Value) -> DeleteOptions:
    """Read the options from a request's query and body; the body wins."""
    body = {} if body is None else body
    preconditions = body.get("preconditions") or {} if isinstance(body, dict) else None
    if not isinstance(preconditions, dict):
        raise errors.bad_request("the body of the request must be DeleteOptions")
    grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy") or "Background"
    if str(body.get("orphanDependents", query.get("orphanDependents"))).lower() == "true":
        propagation = "Orphan"
    try:
        grace_s = None if grace is None else int(grace)
    except (TypeError, ValueError) as fault:
        raise errors.bad_request(f"gracePeriodSeconds {grace!r} is not a whole number") from fault
    return DeleteOptions(
        grace_s=grace_s,
        propagation=propagation,
        uid=preconditions.get("uid"),
        version=preconditions.get("resourceVersion"),
    )


def delete(store: Store, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> tuple[Json, bool]:
    """Delete an object; return its last state and whether it is gone already."""
    item = store.get(resource, namespace, name)
    _check_preconditions(resource, item, options)
    if options.propagation == "Orphan":
        _orphan_dependants(store, item["metadata"]["uid"])
    grace_s = _grace_s(resource, item, options)
    if not grace_s and not item["metadata"].get("finalizers") and resource is not resources.NAMESPACES:
        return store.discard(resource, item), True
    had_s = item["metadata"].get("deletionGracePeriodSeconds")
    if had_s is not None and grace_s >= had_s:  # a grace period may be cut short, never extended
        return item, False
    marked = metadata.with_deletion(item, grace_s=grace_s, now_s=store.now_s())
    if resource is resources.NAMESPACES:
        marked = marked | {"status": marked["status"] | {"phase": "Terminating"}}
    return store.commit(resource, item, marked), False


def _check_preconditions(resource: Resource, item: Json, options: DeleteOptions) -> None:
    had = item["metadata"]
    checks = (("UID", options.uid, had["uid"]), ("ResourceVersion", options.version, had["resourceVersion"]))
    for word, wanted, is_so in checks:
        if wanted is not None and wanted != is_so:
            why = f"Precondition failed: {word} in precondition: {wanted}, {word} in object meta: {is_so}"
            raise errors.conflict(resource, had["name"], why)


def _grace_s(resource: Resource, item: Json, options: DeleteOptions) -> int:
    """Only a pod that a kubelet may still be running is given time."""
    if resource is not resources.PODS:
        return 0
    if not item["spec"].get("nodeName") or item["status"].get("phase") in ("Succeeded", "Failed"):
        return 0
    default_s: int = item["spec"]["terminationGracePeriodSeconds"]
    return default_s if options.grace_s is None else options.grace_s


def _orphan_dependants(store: Store, uid: str) -> None:
    for resource, item in store.everything():
        if any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or []):
            store.commit(resource, item, without_owners(item, frozenset({uid})))


def without_owners(item: Json, uids: frozenset[str]) -> Json:
    """Drop the references to some owners."""
    left = [owner for owner in item["metadata"]["ownerReferences"] if owner.get("uid") not in uids]
    return item | {"metadata": item["metadata"] | {"ownerReferences": left}}
