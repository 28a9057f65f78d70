"""What the deployer says of itself at /metrics; the names are public interface."""

from collections import Counter as Tally
from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.deployed import State

APPLIED, REFUSED = "applied", "refused"


@dataclass(frozen=True, slots=True)
class DeployerMetrics:
    """The deployer's registry."""

    registry: CollectorRegistry
    file_refused: Gauge
    changes: Counter
    applications: Gauge

    def show(self, states: Collection[State]) -> None:
        """Tell how many applications are in each state."""
        tally = Tally(states)
        for state in State:
            self.applications.labels(state.lower()).set(tally[state])


def create() -> DeployerMetrics:
    """The families, with every label value there from the start."""
    registry = CollectorRegistry()
    metrics = DeployerMetrics(
        registry=registry,
        file_refused=Gauge(
            "vgpu_serve_deployer_file_refused", "1 while the models file as it is now is refused", registry=registry
        ),
        changes=Counter(
            "vgpu_serve_deployer_changes_total", "Models files taken up, or refused", ["result"], registry=registry
        ),
        applications=Gauge(
            "vgpu_serve_deployer_applications",
            "Applications that Ray Serve has, the gateway included",
            ["state"],
            registry=registry,
        ),
    )
    for result in (APPLIED, REFUSED):
        metrics.changes.labels(result)
    metrics.show(())
    return metrics
