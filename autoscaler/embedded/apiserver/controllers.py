"""Runs the stand-in controllers: after every change, does what the pure functions say until they ask for nothing more.

On a real cluster this is kube-controller-manager's work; an API server started without it only stores objects.
"""

import asyncio
import logging
from functools import partial

from autoscaler.embedded.apiserver import deletion, deployments, garbage, metadata, resources
from autoscaler.embedded.apiserver.deletion import DeleteOptions
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.resources import Json, Resource
from autoscaler.embedded.apiserver.store import Store
from autoscaler.embedded.apiserver.streaming import Feed

_log = logging.getLogger(__name__)

SWEEP_EVERY_S = 10.0  # without a change, for what only time brings about: old events, forgotten evictions


async def run(store: Store, feed: Feed) -> None:
    """Reconcile after every change until the server closes."""
    waker = feed.add()
    try:
        while not feed.is_closed:
            waker.clear()
            reconcile(store)
            try:
                await asyncio.wait_for(waker.wait(), SWEEP_EVERY_S)
            except TimeoutError:
                continue
    finally:
        feed.drop(waker)


def reconcile(store: Store) -> None:
    """Make one pass over everything; its own writes call for the next."""
    for deployment in store.list(resources.DEPLOYMENTS):
        try:
            _reconcile_deployment(store, deployment)
        except ApiError as refusal:  # such as a template no pod can be made of; the other Deployments go on
            _log.warning("deployment %s: %s", deployment["metadata"]["name"], refusal)
    for budget in store.list(resources.DISRUPTION_BUDGETS):
        pods = store.list(resources.PODS, budget["metadata"]["namespace"])
        status = garbage.budget_status(budget, pods, store.now_s())
        _write_status(store, resources.DISRUPTION_BUDGETS, budget, status)
    _collect_garbage(store)


def _reconcile_deployment(store: Store, deployment: Json) -> None:
    namespace = deployment["metadata"]["namespace"]
    if metadata.is_deleting(deployment):
        return
    todo = deployments.reconcile(deployment, store.list(resources.PODS, namespace), store.now_s())
    for pod in todo.create:
        store.create(resources.PODS, namespace, pod)
    for pod in todo.delete:
        deletion.delete(store, resources.PODS, namespace, pod["metadata"]["name"], DeleteOptions())
    _write_status(store, resources.DEPLOYMENTS, deployment, todo.status)


def _write_status(store: Store, resource: Resource, item: Json, status: Json) -> None:
    had = item["metadata"]
    store.update(resource, had["namespace"], had["name"], lambda old: old | {"status": status}, part="status")


def _replaced(new: Json, _: Json) -> Json:
    return new


def _collect_garbage(store: Store) -> None:
    delete, loosen = garbage.doomed(list(store.everything()), store.now_s())
    for resource, item in loosen:
        had = item["metadata"]
        store.update(resource, had.get("namespace", ""), had["name"], partial(_replaced, item))
    for resource, item in delete:
        had = item["metadata"]
        deletion.delete(store, resource, had.get("namespace", ""), had["name"], DeleteOptions())
    for namespace in garbage.emptied_namespaces(store.everything()):
        store.discard(resources.NAMESPACES, namespace)
