"""How old the oldest reading of each source is, worked out from ticks. Pure.

A replica or a slot that does not answer is in no tick: its last reading is remembered here for as long as Ray Serve
lists the replica as running.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from autoscaler.core.observation import MissingReason, ReplicaState, Source
from autoscaler.ports import Tick


@dataclass(slots=True)
class Ages:
    """Follows the readings of each source from tick to tick."""

    _read_s: dict[Source, dict[str, float]] = field(default_factory=dict)
    """By source and name: when it was last read, or when it was first missed."""

    def oldest_s(self, tick: Tick) -> Mapping[Source, float]:
        """Take in one tick: seconds since the oldest reading of each source of which something is to be read."""
        if tick.plan is None:
            return {}
        now_s, seen = tick.plan.at_s, tick.seen
        models, pools = [model.name for model in tick.spec.models], [pool.name for pool in tick.spec.pools]
        replicas = [each for listed in seen.deployments for each in listed.replicas]
        running = {each.replica_id: each.worker for each in replicas if each.state is ReplicaState.RUNNING}
        workers = set(running.values())
        mute = {gap.name for gap in seen.missing if gap.reason is MissingReason.UNSUPPORTED}
        held = [each.slot_id for each in tick.inventory.slots if each.holder in workers and each.slot_id not in mute]
        absent = {gap.name for gap in tick.plan.undecided if gap.reason is MissingReason.NOT_SEEN}
        known = {model for model in models if model not in absent}
        unasked = {gap.name for gap in seen.missing if gap.source is Source.INGRESS}
        asked = known & ({each.model for each in seen.ingress} | unasked)
        self._take(Source.REPLICA, running, {each.replica_id: each.at_s for each in seen.replicas}, now_s)
        self._take(Source.SLOT, held, {each.slot_id: each.at_s for each in seen.slots}, now_s)
        self._take(Source.DEPLOYMENT, known, {each.model: each.at_s for each in seen.deployments}, now_s)
        self._take(Source.POOL, pools, {each.pool: each.at_s for each in seen.pools}, now_s)
        self._take(Source.INGRESS, asked, {each.model: each.at_s for each in seen.ingress}, now_s)
        return {source: now_s - min(read_s.values()) for source, read_s in self._read_s.items() if read_s}

    def _take(self, source: Source, names: Iterable[str], read_s: Mapping[str, float], now_s: float) -> None:
        before = self._read_s.get(source, {})
        self._read_s[source] = {name: read_s.get(name, before.get(name, now_s)) for name in names}
