"""What one pod asks for, as packing sees it. Hashable: pods of one shape share their scores."""

from dataclasses import dataclass, replace

WHOLE_UNITS = 1000
"""Units of one physical GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """CPU, memory, and units on each of some GPUs; `models` are the GPU models allowed, none meaning any.

    Raises:
        ValueError: for what cannot be asked: a fraction of several GPUs, units outside 1 to 1000.
    """

    cpu_milli: int
    memory_mib: int
    gpus: int
    units: int
    """On each GPU: 1 to 999 with one GPU only, 1000 for whole GPUs, 0 without GPU."""
    models: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.cpu_milli < 0 or self.memory_mib < 0 or self.gpus < 0:
            raise ValueError(
                f"cpu_milli {self.cpu_milli}, memory_mib {self.memory_mib}, gpus {self.gpus}: give 0 or more"
            )
        if self.gpus == 0 and (self.units or self.models):
            raise ValueError(f"{self.units} units, models {sorted(self.models)} without a GPU: give 0 units, no models")
        if self.gpus == 1 and not 1 <= self.units <= WHOLE_UNITS:
            raise ValueError(f"{self.units} units on one GPU: give 1 to {WHOLE_UNITS}")
        if self.gpus > 1 and self.units != WHOLE_UNITS:
            raise ValueError(f"{self.units} units on each of {self.gpus} GPUs: several GPUs are whole ones, 1000 each")

    @property
    def is_fraction(self) -> bool:
        """Whether it shares its GPU."""
        return 0 < self.units < WHOLE_UNITS

    @property
    def total_units(self) -> int:
        """Units on all its GPUs."""
        return self.gpus * self.units

    @property
    def kind(self) -> int:
        """The size class that clustering keeps together: 0 a fraction, else the number of whole GPUs."""
        return 0 if self.is_fraction else self.gpus

    def without_memory(self) -> "Shape":
        """The task class of the fragmentation measure, which looks at CPU, GPU and model alone."""
        return replace(self, memory_mib=0)
