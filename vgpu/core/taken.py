"""What is taken of one node: the sums of its holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vgpu.core.hold import Hold


@dataclass(slots=True, kw_only=True)
class Taken:
    """Sums; `uids` are the pods that they are made of, in the order in which they came."""

    units: dict[str, int] = field(default_factory=dict)
    """By the key that the GPU has in the node's offer; GPUs of which nothing is taken are missing."""
    cpu_milli: int = 0
    memory_mib: int = 0
    sharing: int = 0
    """Pods with units, or perhaps with some."""
    doubts: dict[str, str] = field(default_factory=dict)
    """Why, by uid."""
    uids: dict[str, None] = field(default_factory=dict)

    def copy(self) -> "Taken":
        """A copy that is apart."""
        return replace(self, units=dict(self.units), doubts=dict(self.doubts), uids=dict(self.uids))

    def add(self, hold: Hold, units: Mapping[str, int]) -> None:
        """Count a hold, and its units by the GPUs' keys."""
        self._count(hold, units, 1)
        self.uids[hold.uid] = None
        if hold.doubt:
            self.doubts[hold.uid] = hold.doubt

    def remove(self, hold: Hold, units: Mapping[str, int]) -> None:
        """Count a hold no more, with the units that it was counted by."""
        self._count(hold, units, -1)
        self.uids.pop(hold.uid, None)
        self.doubts.pop(hold.uid, None)

    def _count(self, hold: Hold, units: Mapping[str, int], sign: int) -> None:
        self.cpu_milli += sign * hold.cpu_milli
        self.memory_mib += sign * hold.memory_mib
        self.sharing += sign * hold.is_share
        for key, amount in units.items():
            left = self.units.get(key, 0) + sign * amount
            if left:
                self.units[key] = left
            else:
                self.units.pop(key, None)
