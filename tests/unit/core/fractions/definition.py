"""The measures of `tables` as their definition has them: a sum over classes, a loop over GPUs, exact fractions."""

from collections.abc import Mapping
from fractions import Fraction

from vgpu.core.fractions.host import Host
from vgpu.core.fractions.shape import Shape


def fragmentation(host: Host, counts: Mapping[Shape, int]) -> int:
    """F in units times pods."""
    total = sum(host.free_units)
    result = 0
    for task, pods in counts.items():
        large_enough = sum(units >= task.units for units in host.free_units)
        runs = (
            task.gpus > 0
            and (not task.models or host.model in task.models)
            and host.cpu_milli >= task.cpu_milli
            and large_enough >= task.gpus
        )
        result += pods * (sum(units for units in host.free_units if units < task.units) if runs else total)
    return result


def stranding(host: Host, counts: Mapping[Shape, int]) -> Fraction:
    """S in units."""
    asking = sum(pods for task, pods in counts.items() if task.gpus)
    total = sum(host.free_units)
    result = Fraction(0)
    for task, pods in counts.items():
        if task.gpus and task.cpu_milli and (not task.models or host.model in task.models):
            fed = Fraction(host.cpu_milli * task.total_units, task.cpu_milli)
            result += Fraction(pods, asking) * max(Fraction(0), total - fed)
    return result
