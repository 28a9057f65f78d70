"""Hosts as one matrix of integers, a row for each, so that many are judged at once. Integers decide what fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vgpu.core.fractions.host import Host
from vgpu.core.fractions.shape import WHOLE_UNITS, Shape

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CPU, MEMORY, MODEL, GPUS, KINDS, TOTAL, IDLE, LARGEST, FREE = range(9)
"""Columns; the GPUs' free units are the last ones, from FREE on, 0 where a host has fewer GPUs than the widest."""
NOWHERE = -1
"""Free CPU of a row that holds no host: nothing fits there, for even a shape without CPU asks for 0."""


class Rows(NamedTuple):
    """Some hosts of a board, one a row."""

    matrix: Ints
    """(hosts, FREE + GPUs of the widest host)."""

    @property
    def cpu_milli(self) -> Ints:
        return self.matrix[:, CPU]

    @property
    def model(self) -> Ints:
        """Codes, as the board numbers the models."""
        return self.matrix[:, MODEL]

    @property
    def gpus(self) -> Ints:
        return self.matrix[:, GPUS]

    @property
    def kinds(self) -> Ints:
        """Bit k is set when a pod of kind k is there."""
        return self.matrix[:, KINDS]

    @property
    def total_units(self) -> Ints:
        """Free on all GPUs."""
        return self.matrix[:, TOTAL]

    @property
    def idle(self) -> Ints:
        """GPUs that are free as a whole."""
        return self.matrix[:, IDLE]

    @property
    def free_units(self) -> Ints:
        """(hosts, GPUs)."""
        return self.matrix[:, FREE:]


def as_row(host: Host, models: Mapping[str, int], width: int) -> tuple[int, ...]:
    """The numbers of one host for a matrix `width` GPUs wide."""
    free = host.free_units
    kinds = 0
    for kind in host.kinds:
        kinds |= 1 << min(kind, 62)  # 63 is the sign; no host has 62 GPUs in one pod
    return (
        host.cpu_milli,
        host.memory_mib,
        models[host.model],
        len(free),
        kinds,
        sum(free),
        free.count(WHOLE_UNITS),
        max(free, default=0),
        *free,
        *(0,) * (width - len(free)),
    )


def fitting(rows: Rows, shape: Shape, models: Mapping[str, int]) -> Bools:
    """Say for each host whether a pod of the shape can run there; the same as `Host.fits`."""
    matrix = rows.matrix
    fits: Bools = (matrix[:, CPU] >= shape.cpu_milli) & (matrix[:, MEMORY] >= shape.memory_mib)
    if not shape.gpus:
        allowed: Bools | None = None
    elif shape.is_fraction:
        fits &= matrix[:, LARGEST] >= shape.units
        allowed = allowance(shape.models, models)
    else:
        fits &= matrix[:, IDLE] >= shape.gpus
        allowed = allowance(shape.models, models)
    if allowed is not None:
        fits &= allowed[matrix[:, MODEL]]
    return fits


def allowance(allowed: frozenset[str], models: Mapping[str, int]) -> Bools | None:
    """By model code: whether the model is allowed; None where all are."""
    if not allowed:
        return None
    return np.array([model in allowed for model in models], dtype=np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a policy makes of some hosts that fit, one entry a host."""

    score: Floats
    """Higher is better."""
    gpu: Ints | None = None
    """The index that a fraction gets; None where it is not a fraction."""
    terms: tuple[Floats, ...] = ()
    """The named parts of the score, as many as the policy's `terms`."""
