"""Changes as Kubernetes Events on the pool's Deployment, where `kubectl describe` shows them."""

import logging
from datetime import UTC, datetime

from autoscaler.core.decision import Decision
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import Tick
from vgpu.adapters import kube

log = logging.getLogger(__name__)

COMPONENT = "vgpu-serve-autoscaler"


class Events:
    """Tells Kubernetes of each decision that changes a count. An Event that cannot be written is only logged."""

    def __init__(self, client: kube.Kube, spec: FleetSpec, *, namespace: str) -> None:
        self._client = client
        self._pools = {model.name: model.pool for model in spec.models}
        self._namespace = namespace

    def record(self, tick: Tick) -> None:
        """Write one Event per changed model; a dry run changes none."""
        if tick.plan is None or tick.dry_run:
            return
        try:
            for decision in tick.plan.decisions:
                if not decision.held:
                    self._write(decision)
        except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
            log.warning("event not written: %s", error)

    def _write(self, decision: Decision) -> None:
        pool = self._pools[decision.model]
        # `kubectl describe` asks for the Events of one uid: without it they are only in `kubectl get events`.
        uid = self._client.read(kube.DEPLOYMENTS, pool, self._namespace)["metadata"]["uid"]
        event = kube.Event(
            subject=kube.Subject(
                kind="Deployment", name=pool, namespace=self._namespace, uid=uid, api_version="apps/v1"
            ),
            reason="ScaledUp" if decision.count > decision.current else "ScaledDown",
            message=decision.sentence(),
            component=COMPONENT,
        )
        self._client.record_event(event, wall=datetime.now(UTC))
