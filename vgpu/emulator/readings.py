"""What the NVML of an emulated GPU shows: each guest its own slot, the host its card, a bare-metal node its card with
the process of each tenant.

Busy time is a ratio of the physical engine over the last sixth of a second, for slots too, as the vGPU guide says
of the host's figures. The idle time that equal and fixed share reserve is not busy time.
"""

from collections.abc import Mapping

from vgpu.emulator.config import ArbiterConfig
from vgpu.emulator.engine import Engine
from vgpu.emulator.framebuffer import FramebufferLedger
from vgpu.emulator.nvml_state import BARE_METAL, VGPU_HOST, DeviceFigures, DeviceIdentity, NvmlState, ProcessFigures

PERIOD_NS = 10**9 // 6  # the driver's sample period
# A writer that has been silent for so long is dead or stopped; far above what a crowded host delays a process.
SILENCE_NS = 5 * 10**9


class Readings:
    """Keeps the state files of one emulated GPU current."""

    def __init__(self, config: ArbiterConfig, *, now_ns: int) -> None:
        self._slots = {
            slot.slot_id: NvmlState(
                slot.nvml_state,
                [DeviceIdentity(name=slot.profile_name, uuid=slot.device_uuid, framebuffer_mib=slot.framebuffer_mib)],
            )
            for slot in config.slots
            if slot.nvml_state is not None
        }
        self._host = None if config.host_nvml_state is None else NvmlState(config.host_nvml_state, [_host(config)])
        self._bare = None if config.bare_nvml_state is None else NvmlState(config.bare_nvml_state, [_bare(config)])
        self._slot_ids = [slot.slot_id for slot in config.slots]
        self._busy_ns = dict.fromkeys(self._slot_ids, 0)
        self._published_ns = now_ns
        self._promise(now_ns)

    @property
    def next_ns(self) -> int:
        """When the figures are due again."""
        return self._published_ns + PERIOD_NS

    def publish(self, engine: Engine, ledger: FramebufferLedger, pids: Mapping[str, int]) -> None:
        """Write what happened since the last time; `pids` are the processes attached, by slot."""
        elapsed_ns = engine.now_ns - self._published_ns
        if elapsed_ns <= 0:
            return
        at_us = engine.now_ns // 1000
        card_ratio = 0.0
        processes: list[ProcessFigures] = []
        for slot in self._slot_ids:
            busy_ns = engine.busy_ns(slot)
            ratio = (busy_ns - self._busy_ns[slot]) / elapsed_ns
            self._busy_ns[slot] = busy_ns
            card_ratio += ratio
            figures = _slot_figures(ratio, ledger.used_mib(slot), pids.get(slot))
            processes += figures.processes
            if slot in self._slots:
                self._slots[slot].publish(0, figures, at_us=at_us)
        used_mib = ledger.total_used_mib()
        if self._host is not None:  # a hypervisor's host does not see into its guests
            self._host.publish(0, DeviceFigures(used_mib=used_mib, utilization_ratio=card_ratio), at_us=at_us)
        if self._bare is not None:
            card = DeviceFigures(used_mib=used_mib, utilization_ratio=card_ratio, processes=tuple(processes))
            self._bare.publish(0, card, at_us=at_us)
        self._published_ns = engine.now_ns
        self._promise(engine.now_ns)

    def set_lost(self, lost: bool) -> None:
        """Show the GPU as fallen off the bus, or as back."""
        for state in self._states():
            state.set_lost(lost)

    def close(self) -> None:
        """Leave the state files behind with their devices lost."""
        for state in self._states():
            state.close()

    def _promise(self, now_ns: int) -> None:
        for state in self._states():
            state.set_expiry(now_ns + SILENCE_NS)

    def _states(self) -> list[NvmlState]:
        return [*self._slots.values(), *(state for state in (self._host, self._bare) if state is not None)]


def _slot_figures(ratio: float, used_mib: int, pid: int | None) -> DeviceFigures:
    processes = () if pid is None else (ProcessFigures(pid=pid, used_mib=used_mib, utilization_ratio=ratio),)
    return DeviceFigures(used_mib=used_mib, utilization_ratio=ratio, processes=processes)


def _bare(config: ArbiterConfig) -> DeviceIdentity:
    return DeviceIdentity(
        name=config.gpu_name,
        uuid=config.gpu_uuid,
        framebuffer_mib=config.framebuffer_mib,
        virtualization_mode=BARE_METAL,
    )


def _host(config: ArbiterConfig) -> DeviceIdentity:
    return DeviceIdentity(
        name=config.gpu_name,
        uuid=config.gpu_uuid,
        framebuffer_mib=config.framebuffer_mib,
        virtualization_mode=VGPU_HOST,
        scheduler_policy=config.policy,
        slice_ns=config.slice_ns,
    )
