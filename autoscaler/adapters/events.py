"""Changes as Kubernetes Events, where `kubectl describe` shows them: of counts on the pool's Deployment or on the
RayCluster, of the models file on the autoscaler's Lease."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from autoscaler.adapters import lease
from autoscaler.core.decision import Decision
from autoscaler.ports import Change, ModelsFileSeen, Tick
from vgpu.adapters import kube

log = logging.getLogger(__name__)

COMPONENT = "vgpu-serve-autoscaler"
LONGEST_MESSAGE = 1024  # of an Event, by the API's own check


@dataclass(frozen=True, slots=True)
class _Subject:
    """What an Event is about."""

    served: kube.Kind
    kind: str
    api_version: str
    name: str


class Events:
    """Tells Kubernetes of each decision that changes a count, and of each change of the models file. An Event that
    cannot be written is only logged.

    A pool's Events are on its Deployment; with `ray_cluster`, on the RayCluster of that name.
    """

    def __init__(self, client: kube.Kube, *, namespace: str, ray_cluster: str | None = None) -> None:
        self._client = client
        self._namespace = namespace
        self._ray_cluster = ray_cluster

    def record(self, tick: Tick) -> None:
        """Write one Event for each; who changes nothing writes none, for the one that leads does."""
        if tick.dry_run:
            return
        pools = {model.name: model.pool for model in tick.spec.models}
        try:
            if tick.models_file.change is not None:
                self._tell_of_file(tick.models_file)
            for decision in tick.plan.decisions if tick.plan else ():
                if not decision.held:
                    self._tell_of_count(decision, pools[decision.model])
        except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
            log.warning("event not written: %s", error)

    def _tell_of_count(self, decision: Decision, pool: str) -> None:
        subject = _Subject(kube.DEPLOYMENTS, "Deployment", "apps/v1", pool)
        if self._ray_cluster is not None:
            subject = _Subject(kube.RAYCLUSTERS, "RayCluster", "ray.io/v1", self._ray_cluster)
        reason = "ScaledUp" if decision.count > decision.current else "ScaledDown"
        self._write(subject, reason, decision.sentence())

    def _tell_of_file(self, seen: ModelsFileSeen) -> None:
        reason, lines = (
            "ModelsFileRefused",
            ["the models file is refused, and the last one is followed:", *seen.problems],
        )
        if seen.change is Change.APPLIED:
            names = ", ".join(model.name for model in seen.spec.models)
            reason, lines = "ModelsFileApplied", [f"the models file has changed and is followed: {names}"]
        subject = _Subject(kube.LEASES, "Lease", "coordination.k8s.io/v1", lease.NAME)
        self._write(subject, reason, "\n".join(lines), is_warning=seen.change is Change.REFUSED)

    def _write(self, subject: _Subject, reason: str, message: str, *, is_warning: bool = False) -> None:
        # `kubectl describe` asks for the Events of one uid: without it they are only in `kubectl get events`.
        uid = self._client.read(subject.served, subject.name, self._namespace)["metadata"]["uid"]
        event = kube.Event(
            subject=kube.Subject(
                kind=subject.kind,
                name=subject.name,
                namespace=self._namespace,
                uid=uid,
                api_version=subject.api_version,
            ),
            reason=reason,
            message=message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…",
            component=COMPONENT,
            is_warning=is_warning,
        )
        self._client.record_event(event, wall=datetime.now(UTC))
