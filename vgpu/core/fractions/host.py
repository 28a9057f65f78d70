"""One node as packing sees it: what is free on it now."""

from dataclasses import dataclass, replace

from vgpu.core.fractions.shape import WHOLE_UNITS, Shape

MOST_GPUS = 64
"""On one node; arrays of hosts are as wide as the widest of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Free CPU, memory and units of each GPU, by its index; `kinds` are the `Shape.kind` of the GPU pods on it.

    Raises:
        ValueError: for free amounts that cannot be.
    """

    name: str
    cpu_milli: int
    memory_mib: int
    free_units: tuple[int, ...]
    """By GPU index, 0 to 1000."""
    model: str
    kinds: frozenset[int] = frozenset()
    """Only clustering looks at it; a host may leave it empty."""

    def __post_init__(self) -> None:
        if self.cpu_milli < 0 or self.memory_mib < 0:
            raise ValueError(
                f"host {self.name}: {self.cpu_milli} milli-CPU and {self.memory_mib} MiB free: give 0 or more"
            )
        if len(self.free_units) > MOST_GPUS:
            raise ValueError(f"host {self.name}: {len(self.free_units)} GPUs, at most {MOST_GPUS}")
        if self.free_units and (min(self.free_units) < 0 or max(self.free_units) > WHOLE_UNITS):
            raise ValueError(f"host {self.name}: free units {self.free_units}: each is 0 to {WHOLE_UNITS}")

    def fits(self, shape: Shape) -> bool:
        """Say whether a pod of the shape can run here now."""
        if self.cpu_milli < shape.cpu_milli or self.memory_mib < shape.memory_mib:
            return False
        if shape.models and self.model not in shape.models:
            return False
        return sum(units >= shape.units for units in self.free_units) >= shape.gpus if shape.gpus else True

    def without(self, shape: Shape, gpus: tuple[int, ...]) -> "Host":
        """This host after a pod of the shape took its units on the GPUs of these indices.

        Raises:
            ValueError: when it does not fit there.
        """
        if len(set(gpus)) != shape.gpus or not all(0 <= gpu < len(self.free_units) for gpu in gpus):
            raise ValueError(f"host {self.name}: GPUs {gpus} for a pod of {shape.gpus}")
        free = list(self.free_units)
        for gpu in gpus:
            free[gpu] -= shape.units
        return Host(
            name=self.name,
            cpu_milli=self.cpu_milli - shape.cpu_milli,
            memory_mib=self.memory_mib - shape.memory_mib,
            free_units=tuple(free),
            model=self.model,
            kinds=self.kinds | {shape.kind} if shape.gpus and shape.kind not in self.kinds else self.kinds,
        )

    def with_back(self, shape: Shape, gpus: tuple[int, ...]) -> "Host":
        """This host after such a pod left; `kinds` stay, for others of that kind may be there.

        Raises:
            ValueError: when more would be free than there is.
        """
        free = list(self.free_units)
        for gpu in gpus:
            free[gpu] += shape.units
        return replace(
            self,
            cpu_milli=self.cpu_milli + shape.cpu_milli,
            memory_mib=self.memory_mib + shape.memory_mib,
            free_units=tuple(free),
        )
