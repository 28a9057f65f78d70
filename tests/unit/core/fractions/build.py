"""Hosts and shapes for tests, by what matters of them."""

from vgpu.core.fractions.host import Host
from vgpu.core.fractions.shape import WHOLE_UNITS, Shape

MEMORY_MIB = 1 << 20


def host(name: str, *free_units: int, cpu_milli: int = 96_000, model: str = "V100") -> Host:
    return Host(name=name, cpu_milli=cpu_milli, memory_mib=MEMORY_MIB, free_units=free_units, model=model)


def fraction(units: int, *, cpu_milli: int = 1000, models: frozenset[str] = frozenset()) -> Shape:
    return Shape(cpu_milli=cpu_milli, memory_mib=1024, gpus=1, units=units, models=models)


def whole(gpus: int = 1, *, cpu_milli: int = 1000, models: frozenset[str] = frozenset()) -> Shape:
    return Shape(cpu_milli=cpu_milli, memory_mib=1024, gpus=gpus, units=WHOLE_UNITS, models=models)


def no_gpu(cpu_milli: int) -> Shape:
    return Shape(cpu_milli=cpu_milli, memory_mib=1024, gpus=0, units=0)
