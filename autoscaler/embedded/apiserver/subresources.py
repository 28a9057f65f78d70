"""What is posted or put beside an object rather than in it: its scale, a pod's binding and a pod's eviction.

A binding sets the node and merges the Binding's annotations and labels in one write, so no reader ever sees a pod that
is bound but lacks what its scheduler decided about it.
"""

from autoscaler.embedded.apiserver import deletion, errors, metadata, resources, selectors, shapes
from autoscaler.embedded.apiserver.resources import Json, Value
from autoscaler.embedded.apiserver.store import Store

_BORROWED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(deployment: Json) -> Json:
    """View a Deployment as a Scale."""
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: deployment["metadata"][key] for key in _BORROWED},
        "spec": {"replicas": deployment["spec"]["replicas"]},
        "status": {
            "replicas": deployment["status"].get("replicas", 0),
            "selector": selectors.render_label_selector(deployment["spec"]["selector"]),
        },
    }


def with_scale(deployment: Json, scale: Value) -> Json:
    """Write a Scale's replicas into its Deployment; the Scale's resourceVersion, if any, is the one to match."""
    if not isinstance(scale, dict) or scale.get("kind", "Scale") != "Scale":
        raise errors.bad_request("the body of the request must be a Scale")
    asked, about = scale.get("spec") or {}, scale.get("metadata") or {}
    if not isinstance(asked, dict) or not isinstance(about, dict):
        raise errors.bad_request("Scale in version v1 cannot be handled as a Scale: metadata and spec must be objects")
    sent = {key: value for key, value in about.items() if key in _BORROWED}
    replicas = asked.get("replicas", 0)
    spec = deployment["spec"] | {"replicas": replicas}
    return deployment | {"metadata": deployment["metadata"] | {"resourceVersion": ""} | sent, "spec": spec}


def bind(store: Store, namespace: str, name: str, binding: Value) -> Json:
    """Assign a pod to a node, once; raise Conflict where it has one or is being deleted."""
    if not isinstance(binding, dict) or not isinstance(binding.get("target"), dict):
        raise errors.bad_request("the body of the request must be a Binding with a target")
    pod = store.get(resources.PODS, namespace, name)
    target, sent = binding["target"], shapes.decode(resources.PODS, namespace, name, _as_pod(binding))["metadata"]
    if target.get("kind", "Node") not in ("", "Node") or not target.get("name"):
        raise errors.invalid(resources.PODS, name, [errors.required("target.name", "the node to bind to")])
    for field in ("uid", "resourceVersion"):
        if sent.get(field) and sent[field] != pod["metadata"][field]:
            raise errors.conflict(resources.PODS, name, f"the pod's {field} is not {sent[field]}", "binding")
    if metadata.is_deleting(pod):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
        raise errors.conflict(resources.PODS, name, why, "binding")
    if node := pod["spec"].get("nodeName"):
        why = f'pod {name} is already assigned to node "{node}"'
        raise errors.conflict(resources.PODS, name, why, "binding")
    store.commit(resources.PODS, pod, _bound(pod, target["name"], sent, metadata.timestamp(store.now_s())))
    return errors.created()


def _as_pod(binding: Json) -> Json:
    return {"metadata": binding.get("metadata") or {}}


def _bound(pod: Json, node: str, sent: Json, now: str) -> Json:
    had = pod["metadata"]
    merged = {field: (had.get(field) or {}) | (sent.get(field) or {}) for field in ("annotations", "labels")}
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    others = [known for known in pod["status"].get("conditions") or [] if known.get("type") != "PodScheduled"]
    return pod | {
        "metadata": had | {field: value for field, value in merged.items() if value},
        "spec": pod["spec"] | {"nodeName": node},
        "status": pod["status"] | {"conditions": [*others, scheduled]},
    }


def is_ready(pod: Json) -> bool:
    """Tell whether a pod says it can serve."""
    conditions = pod.get("status", {}).get("conditions") or []
    return any(known.get("type") == "Ready" and known.get("status") == "True" for known in conditions)


def evict(store: Store, namespace: str, name: str, eviction: Value) -> Json:
    """Delete a pod if its disruption budget allows one more loss, and take that loss off the budget."""
    asked = eviction.get("deleteOptions") if isinstance(eviction, dict) else None
    options = deletion.parse_options({}, asked)
    pod = store.get(resources.PODS, namespace, name)
    if not _serves_nobody(pod):
        budget = _budget_of(store, pod)
        if budget is not None and (is_ready(pod) or not _has_enough(budget)):
            _spend(store, budget, pod)
    deletion.delete(store, resources.PODS, namespace, name, options)
    return errors.created()


def _serves_nobody(pod: Json) -> bool:
    return pod["status"].get("phase") != "Running" or metadata.is_deleting(pod)


def _has_enough(budget: Json) -> bool:
    """Tell whether a budget is met without a pod that is not ready; such a pod may then go at no cost."""
    desired: int = budget["status"].get("desiredHealthy", 0)
    current: int = budget["status"].get("currentHealthy", 0)
    return 0 < desired <= current


def _budget_of(store: Store, pod: Json) -> Json | None:
    namespace = pod["metadata"]["namespace"]
    budgets = [
        budget
        for budget in store.list(resources.DISRUPTION_BUDGETS, namespace)
        if selectors.parse_label_selector(budget["spec"].get("selector"))(pod)
    ]
    if len(budgets) > 1:
        why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise errors.internal(why)
    return budgets[0] if budgets else None


def _spend(store: Store, budget: Json, pod: Json) -> None:
    name, status = budget["metadata"]["name"], budget["status"]
    if status.get("observedGeneration", 0) < budget["metadata"]["generation"]:
        why = f"The disruption budget {name} is still being processed by the server."
        raise _refusal(why)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 1:
        needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        raise _refusal(f"The disruption budget {name} needs {needs} healthy pods and has {has} currently")
    disrupted = (status.get("disruptedPods") or {}) | {pod["metadata"]["name"]: metadata.timestamp(store.now_s())}
    spent = budget | {"status": status | {"disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}}
    store.commit(resources.DISRUPTION_BUDGETS, budget, spent)


def _refusal(why: str) -> errors.ApiError:
    told = "Cannot evict pod as it would violate the pod's disruption budget."
    return errors.too_many_requests(told, cause="DisruptionBudget", cause_message=why)
