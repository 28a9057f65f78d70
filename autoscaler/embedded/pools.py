"""The worker pools of the installation: a Deployment for each slot type of the models file, as the chart makes them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoscaler import config
from autoscaler.core.spec import FleetSpec, PoolSpec
from autoscaler.embedded import pods
from autoscaler.embedded.fleet import Fleet
from vgpu.adapters import kube


@dataclass(slots=True, kw_only=True)
class Pools:
    """Creates pools, the first ones and those that a changed models file needs; none is ever taken away."""

    models: Path
    fleet: Fleet
    connect: Callable[[], kube.Kube]
    namespace: str
    ray_address: str
    _known: set[str] = field(default_factory=set)
    _seen: str = ""

    def create(self, spec: FleetSpec, workers: Mapping[str, int]) -> None:
        """Create these pools, with so many workers each. Raises `kube.Unavailable`."""
        self._seen = self._digest()
        self._create(spec.pools, workers)

    def follow(self) -> list[str]:
        """Create the pools that the file needs since it has changed; what there is to tell of that.

        Raises `kube.Unavailable`; the next call tries again.
        """
        digest = self._digest()
        if digest == self._seen:
            return []
        try:
            spec = config.load(self.models)
        except config.ConfigError as refused:
            self._seen = digest
            return [*str(refused).splitlines(), f"{self.models} changes nothing until it is corrected"]
        new = [pool for pool in spec.pools if pool.name not in self._known]
        possible = [pool for pool in new if any(card.shape == pool.profile for card in self.fleet.cards)]
        # Empty ones: their workers are the autoscaler's to ask for.
        self._create(possible, {})
        self._seen = digest
        cut = ", ".join(sorted({card.shape.label for card in self.fleet.cards}))
        return [
            *(f"a pool for {pool.profile.label} was added" for pool in possible),
            *(
                f"slot type {pool.profile.label}: no card here is cut so, and its models wait without a worker; "
                f"use {cut}, or start again with other cards (--fleet)"
                for pool in new
                if pool not in possible
            ),
        ]

    def _create(self, pools: Sequence[PoolSpec], workers: Mapping[str, int]) -> None:
        if not pools:
            return
        client = self.connect()
        for pool in pools:
            manifest = pods.pool_manifest(
                config.pool_name(pool.profile.label),
                namespace=self.namespace,
                slot_label=pool.profile.label,
                replicas=workers.get(pool.name, 0),
                ray_address=self.ray_address,
            )
            client.apply_deployment(manifest, self.namespace)
            self._known.add(pool.name)
        client.close()

    def _digest(self) -> str:
        try:
            return hashlib.sha256(self.models.read_bytes()).hexdigest()
        except OSError as error:
            return str(error)
