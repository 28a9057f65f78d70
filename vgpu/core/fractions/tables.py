"""The fragmentation measure of FGD and the expected CPU strand as look-ups: a few for each GPU, none for each class.

Fragmentation (Weng et al., "Beware of Fragmentation", USENIX ATC 2023). A node with free CPU C and free units r_g on
its GPUs, T their sum; a class m asks for c milli-CPU and d units on each of k GPUs and makes up p_m of all pods:

    f(m) = T               if m has no GPU, or its model is not allowed, or C < c, or fewer than k GPUs have r >= d
    f(m) = sum of r_g < d  otherwise
    F    = sum over m of p_m f(m)

Among classes with one GPU, GPU g is of use to those that the CPU and the model allow and that have d <= r_g, whatever
the other GPUs hold; and a class with several GPUs asks for whole ones, so the count of idle GPUs decides. Hence

    F = sum over g of r_g (1 - P1(d <= r_g))  -  1000 idle P2(k <= idle)

with P1 and P2 the parts of pods in such classes. Counts instead of parts keep it an integer.

Stranding: the units that lack of CPU will leave unused if the node is filled with one class alone, in the mean over the
classes with GPU: S = sum over m of p_m max(0, T - C / rho_m), where rho_m = c / (d k) is CPU for each unit.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from vgpu.core.fractions import rows as fields
from vgpu.core.fractions.demand import Class
from vgpu.core.fractions.rows import Bools, Floats, Ints, Rows
from vgpu.core.fractions.shape import WHOLE_UNITS, Shape

LEVELS = WHOLE_UNITS + 1
"""Free units of a GPU: 0 to 1000."""
NEVER = np.iinfo(np.int64).max


class Tables:
    """What a mix of classes makes of hosts with these models and at most `width` GPUs each."""

    def __init__(self, classes: Sequence[Class], models: Mapping[str, int], width: int) -> None:
        self._count = sum(entry.pods for entry in classes)
        self._models = max(len(models), 1)
        self._width = width + 1
        self._cpu_steps: Ints = np.unique(np.array([entry.shape.cpu_milli for entry in classes], dtype=np.int64))
        cells = len(self._cpu_steps) + 1, self._models
        one = np.zeros((*cells, LEVELS), dtype=np.int64)
        several = np.zeros((*cells, self._width), dtype=np.int64)
        for shape, count in classes:
            allowed = _allowed(shape, models, self._models)
            cell = int(np.searchsorted(self._cpu_steps, shape.cpu_milli)) + 1
            if shape.gpus == 1:
                one[cell, allowed, shape.units] += count
            elif 1 < shape.gpus <= width:
                several[cell, allowed, shape.gpus] += count
        for table in (one, several):
            np.cumsum(table, axis=0, out=table)
            np.cumsum(table, axis=2, out=table)
        self._unusable: Ints = (np.arange(LEVELS) * (self._count - one)).ravel()
        self._saved: Ints = (WHOLE_UNITS * np.arange(self._width) * several).ravel()
        self._strand(classes, models)

    def _strand(self, classes: Sequence[Class], models: Mapping[str, int]) -> None:
        """Sums over the classes that need more CPU for a unit than x, for each step of x, by model."""
        hungry = [entry for entry in classes if entry.shape.gpus and entry.shape.cpu_milli]
        total = max(sum(entry.pods for entry in classes if entry.shape.gpus), 1)
        hungry.sort(key=lambda entry: entry.shape.cpu_milli / entry.shape.total_units)
        ratio = np.array([entry.shape.cpu_milli / entry.shape.total_units for entry in hungry])
        parts = np.zeros((self._models, len(hungry) + 1))
        for place, (shape, count) in enumerate(hungry):
            parts[_allowed(shape, models, self._models), place] = count / total
        by_cpu = parts.copy()
        by_cpu[:, :-1] /= ratio
        self._ratios: Floats = ratio
        self._steps = len(hungry) + 1
        self._above: Floats = np.cumsum(parts[:, ::-1], axis=1)[:, ::-1].ravel()
        self._above_by_cpu: Floats = np.cumsum(by_cpu[:, ::-1], axis=1)[:, ::-1].ravel()

    @property
    def pods(self) -> int:
        """Pods counted; `fragmentation` is in units times this."""
        return max(self._count, 1)

    def fragmentation(self, rows: Rows) -> Ints:
        """F of each host, in units times `pods`."""
        cell = self._cell(rows.cpu_milli, rows.model)
        unusable = self._unusable.take((cell * LEVELS)[:, None] + rows.free_units).sum(axis=1)
        result: Ints = unusable - self._saved.take(cell * self._width + rows.idle)
        return result

    def fragmentation_after(self, rows: Rows, shape: Shape) -> tuple[Ints, Ints | None]:
        """F of each host, in units times `pods`, after it took a pod that fits, and the GPU of a fraction.

        A fraction gets the GPU that leaves the least, the first of equals; whole GPUs are all alike.
        """
        cell = self._cell(rows.cpu_milli - shape.cpu_milli, rows.model)
        at = (cell * LEVELS)[:, None] + rows.free_units
        unusable = self._unusable.take(at)
        total = unusable.sum(axis=1)
        saved = cell * self._width + rows.idle
        if not shape.is_fraction:
            taken = shape.gpus * self._unusable.take(cell * LEVELS + WHOLE_UNITS)
            return total - taken - self._saved.take(saved - shape.gpus), None
        free = rows.free_units
        # Where the fraction does not fit, the index falls into a neighbour's cell; that trial is thrown away.
        trial = self._unusable.take(at - shape.units) - unusable
        trial -= self._saved.take(saved[:, None] - (free == WHOLE_UNITS))
        trial[free < shape.units] = NEVER
        gpu = trial.argmin(axis=1)
        return total + trial[np.arange(len(gpu)), gpu], gpu

    def stranding(self, rows: Rows, shape: Shape | None = None) -> Floats:
        """S of each host in units, or what it falls by when the host takes a pod of the shape, which fits."""
        cpu, units, at = rows.cpu_milli, rows.total_units, rows.model * self._steps
        if shape is not None:  # before and after in one array: short arrays cost by the call and not by the host
            cpu = np.concatenate((cpu, cpu - shape.cpu_milli))
            units = np.concatenate((units, units - shape.total_units))
            at = np.concatenate((at, at))
        at = at + self._ratios.searchsorted(cpu / np.maximum(units, 1), side="right")
        left: Floats = units * self._above.take(at) - cpu * self._above_by_cpu.take(at)
        left *= units > 0
        return left if shape is None else left[: len(left) // 2] - left[len(left) // 2 :]

    def _cell(self, cpu_milli: Ints, model: Ints) -> Ints:
        """Where the tables keep what is true of this much CPU and this model."""
        found: Ints = np.searchsorted(self._cpu_steps, cpu_milli, side="right") * self._models + model
        return found


def _allowed(shape: Shape, models: Mapping[str, int], width: int) -> Bools:
    allowed = fields.allowance(shape.models, models)
    return np.ones(width, dtype=np.bool_) if allowed is None else allowed
