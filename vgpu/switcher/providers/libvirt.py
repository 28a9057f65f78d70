"""Machines that libvirt runs (KVM): the one door to libvirt-python, with the `libvirt_*` modules beside this one.

**To suspend is to save.** libvirt's own "suspend" only stops the guest's processors: QEMU stays, and with it the
guest's memory and the framebuffer of its vGPU, so the card is not given up. Here `suspend` is `managedSave`: the state
goes to disk, QEMU ends, and `resume` is `create`, which restores it. A domain that somebody paused is reported as
running, with a fault, because it holds its vGPU.

**A mediated device outlives its domain.** A card takes vGPUs of one size only, and it counts the devices that exist,
used or not. So before a domain starts its own device is started, and idle ones of another size on that card are
stopped; their definitions stay with the host (`nodeDeviceDefineXML`, libvirt 7.3 or later with mdevctl). Devices
without a definition are left alone.

**Capabilities** are asked of the daemon and the domain. A domain with a device of the host can be saved only where
QEMU decides that itself (libvirt 8.6) and VFIO's migration is no experiment (QEMU 8.1); whether the card's driver takes
part shows only when it is tried. A refusal is remembered by this process: then `suspend` is said to be impossible, and
why, and a machine gives its GPU up by `power_off`.

A provider speaks to one host: a machine that `migrate` has moved away is no longer seen here.

The URI says how the daemon is reached (https://libvirt.org/uri.html). With qemu+tls the server's certificate is
verified unless the URI says `no_verify`; passwords come from libvirt's own auth.conf.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

import libvirt

from vgpu.core.profile import Profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState
from vgpu.switcher.providers import libvirt_host
from vgpu.switcher.providers.libvirt_domain import NoProfile
from vgpu.switcher.providers.libvirt_faults import without_user
from vgpu.switcher.providers.libvirt_jobs import Jobs
from vgpu.switcher.providers.libvirt_line import Line
from vgpu.switcher.providers.port import Provider, ProviderError
from vgpu.switcher.providers.settings import Libvirt

POLL_S = 0.2
_ABSENT = "this host has no domain of that name; see `virsh list --all`"
_MIGRATE = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
)
# Of a save: the state of the domain, or a device in it, does not allow it.
_REFUSALS = (
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. `answer_s` bounds a question, `patience_s` how long a caller waits for the beginning of long work,
    `shutdown_s` what a guest has to shut down before its power is cut, `work_s` long work as a whole."""

    answer_s: float = 10.0
    patience_s: float = 0.5
    shutdown_s: float = 60.0
    work_s: float = 900.0


def open(settings: Libvirt, times: Times | None = None) -> Provider:
    """A provider for a daemon; it is connected to by the first call."""
    where = urlsplit(settings.uri)
    if parse_qs(where.query).get("no_verify", ["0"]) != ["0"]:
        _log.warning("%s: the server's certificate is not verified (no_verify)", without_user(settings.uri))
    if where.scheme.endswith("+tcp"):
        _log.warning("%s: neither encrypted nor verified; use qemu+tls", without_user(settings.uri))
    return LibvirtProvider(settings, times or Times())


class LibvirtProvider:
    """See `Provider`."""

    def __init__(self, settings: Libvirt, times: Times, *, clock: Callable[[], float] = monotonic) -> None:
        self._times = times
        self._clock = clock
        self._line = Line(settings.uri, answer_s=times.answer_s)
        self._jobs = Jobs(patience_s=times.patience_s, bound_s=times.work_s, clock=clock)
        self._unsavable: dict[str, str] = {}
        self._profiles: dict[str, str] = {}  # as they were seen last
        self._closed = threading.Event()

    def __repr__(self) -> str:
        return f"LibvirtProvider({self._line!r})"

    def capabilities(self, machine: str) -> Capabilities:
        refused = self._unsavable.get(machine)
        return self._line.ask(
            f"ask what {machine} can do",
            lambda connection: libvirt_host.capabilities(connection, connection.lookupByName(machine), refused),
        )

    def look(self, machines: Sequence[str]) -> Mapping[str, MachineSeen]:
        # What is being worked on here is not asked for: libvirt keeps a domain locked while its QEMU ends.
        changing = {machine: self._changing(machine) for machine in machines if self._changes(machine)}
        others = [machine for machine in machines if machine not in changing]
        return changing | self._ask_for("look", others)

    def suspend(self, machine: str) -> None:
        what = f"suspend {machine}"
        state = self._settled("suspend", machine)
        if state is MachineState.OFF:
            self._no(what, "it is off, so there is no state to keep; power it on first")
        if state is MachineState.RUNNING:
            self._check_can(machine, "suspend", what)
            self._jobs.begin("suspend", machine, lambda: self._line.run(lambda c: self._save(c, machine)))

    def resume(self, machine: str) -> None:
        state = self._settled("resume", machine)
        if state is MachineState.OFF:
            self._no(f"resume {machine}", "it is off, with no saved state; power it on")
        self._start("resume", machine, state)

    def power_on(self, machine: str) -> None:
        state = self._settled("power on", machine)
        if state is MachineState.SUSPENDED:
            self._no(f"power on {machine}", "it is suspended; resume it, or power it off, which gives up its state")
        self._start("power on", machine, state)

    def power_off(self, machine: str) -> None:
        state = self._settled("power off", machine)
        if state is MachineState.SUSPENDED:
            what = f"power off {machine}"
            self._line.ask(what, lambda connection: connection.lookupByName(machine).managedSaveRemove())
        elif state in (MachineState.RUNNING, MachineState.UNKNOWN):
            self._jobs.begin("power off", machine, lambda: self._line.run(lambda c: self._shut_down(c, machine)))

    def set_profile(self, machine: str, profile: Profile) -> None:
        what = f"set profile of {machine}"
        seen = self._seen("set profile of", machine)
        if seen.profile == profile.label:
            return
        if seen.state is not MachineState.OFF:
            why = f"it is {seen.state}; a vGPU is changed only while its machine is off"
            raise ProviderError(what, why, permanent=seen.state is not MachineState.CHANGING)
        try:
            self._line.ask(what, lambda connection: libvirt_host.set_profile(connection, machine, profile))
        except NoProfile as fault:
            raise ProviderError(what, str(fault), permanent=True) from fault

    def set_config(self, machine: str, config: str) -> None:
        self._check_can(machine, "recuts_in_place", f"set {config} on {machine}")

    def snapshot(self, machine: str, name: str) -> None:
        if self._settled("snapshot", machine) is MachineState.CHANGING:
            return
        self._check_can(machine, "snapshot", f"snapshot {machine}")

        def work(connection: libvirt.virConnect) -> None:
            libvirt_host.snapshot(connection.lookupByName(machine), name)

        self._jobs.begin("snapshot", machine, lambda: self._line.run(work))

    def migrate(self, machine: str, host: str) -> None:
        what = f"migrate {machine}"
        if self._line.ask(what, lambda connection: connection.getHostname()) == host:
            return
        if self._settled("migrate", machine) is MachineState.CHANGING:
            return
        self._check_can(machine, "live_migrate", what)
        to = self.destination(host)

        def work(connection: libvirt.virConnect) -> None:
            connection.lookupByName(machine).migrateToURI3(to, {}, _MIGRATE)

        self._jobs.begin("migrate", machine, lambda: self._line.run(work))

    def close(self) -> None:
        self._closed.set()
        self._line.close()

    def destination(self, host: str) -> str:
        """URI by which our daemon reaches another's: as we reach ours, or by TLS where ours is on this machine."""
        driver, _, transport = urlsplit(self._line.uri).scheme.partition("+")
        return f"{driver}+{'tls' if transport in ('', 'unix') else transport}://{host}/system"

    def _changes(self, machine: str) -> bool:
        job = self._jobs.under_way(machine)
        return job is not None and job.what != "snapshot" and not self._jobs.is_late(machine)

    def _changing(self, machine: str) -> MachineSeen:
        return MachineSeen(state=MachineState.CHANGING, profile=self._profiles.get(machine, ""))

    def _ask_for(self, what: str, machines: Sequence[str]) -> dict[str, MachineSeen]:
        if not machines:
            return {}
        seen = self._line.ask(what, lambda connection: libvirt_host.look(connection, machines))
        self._profiles |= {machine: each.profile for machine, each in seen.items()}
        return seen

    def _settled(self, operation: str, machine: str) -> MachineState:
        return self._seen(operation, machine).state

    def _seen(self, operation: str, machine: str) -> MachineSeen:
        """What the machine is doing; CHANGING where just this is under way, and an error where something else is."""
        what = f"{operation} {machine}"
        refusal = self._jobs.refusal(operation, machine)
        if self._jobs.is_late(machine):
            self._jobs.give_up(machine)
            with suppress(ProviderError):  # there may be nothing to abort: the daemon was restarted meanwhile
                self._line.ask(what, lambda connection: connection.lookupByName(machine).abortJob())
        if refusal is not None:
            raise refusal
        if self._jobs.under_way(machine) is not None:
            return self._changing(machine)
        seen = self._ask_for(what, (machine,))
        if machine not in seen:
            self._no(what, _ABSENT)
        return seen[machine]

    def _check_can(self, machine: str, capability: str, what: str) -> None:
        can = self.capabilities(machine)
        if not getattr(can, capability):
            self._no(what, can.why_not.get(capability, "this driver cannot do it"))

    def _start(self, operation: str, machine: str, state: MachineState) -> None:
        """Let it run: `create` restores the saved state where there is one. One that runs may only be paused."""
        if state is not MachineState.CHANGING:
            self._jobs.begin(operation, machine, lambda: self._line.run(lambda c: libvirt_host.start(c, machine)))

    def _save(self, connection: libvirt.virConnect, machine: str) -> None:
        domain = connection.lookupByName(machine)
        try:
            domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)
        except libvirt.libvirtError as error:
            if error.get_error_code() in _REFUSALS and domain.isActive():
                why = self._unsavable[machine] = without_user(f"libvirt refused to save it: {error}")
                raise ProviderError(f"suspend {machine}", why, permanent=True) from error
            raise

    def _shut_down(self, connection: libvirt.virConnect, machine: str) -> None:
        """Ask the guest, wait, and cut its power where it does not listen or cannot be asked."""
        domain = connection.lookupByName(machine)
        until_s = self._clock() + self._times.shutdown_s
        if domain.state()[0] in libvirt_host.CAN_HEAR:
            try:
                domain.shutdown()
            except libvirt.libvirtError as error:
                _log.info("%s cannot be asked to shut down: %s", machine, without_user(str(error)))
                until_s = self._clock()
            while domain.isActive() and self._clock() < until_s and not self._closed.wait(POLL_S):
                pass
        if self._closed.is_set():  # nobody is there any more who asked for it
            return
        try:
            domain.destroy()
        except libvirt.libvirtError:
            if domain.isActive():  # else it ended by itself in the meantime
                raise

    def _no(self, what: str, why: str) -> NoReturn:
        raise ProviderError(what, why, permanent=True)
