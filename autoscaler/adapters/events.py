"""Changes as Kubernetes Events on the pool's Deployment, where `kubectl describe` shows them."""

import logging
from datetime import UTC, datetime

from autoscaler.core.spec import FleetSpec
from autoscaler.ports import Tick
from vgpu.adapters import kube

log = logging.getLogger(__name__)


class Events:
    """Tells Kubernetes of each decision that changes a count. An Event that cannot be written is only logged."""

    def __init__(self, client: kube.Kube, spec: FleetSpec, *, namespace: str) -> None:
        self._client = client
        self._pools = {model.name: model.pool for model in spec.models}
        self._namespace = namespace

    def record(self, tick: Tick) -> None:
        """Write one Event per changed model."""
        for decision in tick.plan.decisions if tick.plan else ():
            if decision.held:
                continue
            pool = self._pools[decision.model]
            subject = kube.Subject(kind="Deployment", name=pool, namespace=self._namespace, api_version="apps/v1")
            reason = "ScaledUp" if decision.count > decision.current else "ScaledDown"
            try:
                self._client.record_event(
                    subject,
                    reason=reason,
                    message=decision.sentence(),
                    component="vgpu-serve-autoscaler",
                    wall=datetime.now(UTC),
                )
            except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
                log.warning("event not written: %s", error)
                return
