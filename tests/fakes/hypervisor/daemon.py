"""A real libvirt daemon of this test alone, with guests that QEMU emulates (TCG): no KVM, no network, no root needed.

As root the daemon would take the machine's own folders, so then it runs as nobody. All it keeps is in one folder.
"""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.fakes.hypervisor.guest import boot_sector, counts, qcow2
from tests.fakes.waiting import POLL_S, eventually, is_gone

_LIBVIRTD = "/usr/sbin/libvirtd"
_QEMU_CONF = 'stdio_handler = "file"\nvnc_listen = "127.0.0.1"\nremember_owner = 0\n'
_PR_SET_CHILD_SUBREAPER = 36  # of Linux's prctl.h
_STARTS_WITHIN_S = 60.0


@dataclass
class Daemon:
    """Running; `folder` holds its socket, its configuration, and the guests' disks and serial output."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "libvirt" / "libvirt-sock"

    @property
    def uri(self) -> str:
        return f"qemu:///session?socket={self.socket}"

    def add_guest(self, name: str) -> str:
        """Make a counting guest's disk; return the XML that defines it."""
        disk, serial = self.folder / f"{name}.qcow2", self.serial_of(name)
        disk.write_bytes(qcow2(boot_sector()))
        serial.touch()
        for path in (disk, serial):
            _give(path)
        return f"""
            <domain type='qemu'>
              <name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
              <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
              <devices>
                <emulator>/usr/bin/qemu-system-x86_64</emulator>
                <disk type='file' device='disk'>
                  <driver name='qemu' type='qcow2'/><source file='{disk}'/><target dev='hda' bus='ide'/>
                </disk>
                <controller type='usb' model='none'/><memballoon model='none'/>
                <serial type='file'><source path='{serial}' append='on'/></serial>
              </devices>
            </domain>"""

    def serial_of(self, name: str) -> Path:
        return self.folder / f"{name}.serial"

    def counts_of(self, name: str) -> list[int]:
        """Every number the guest has written, in the order in which it did."""
        return counts(self.serial_of(name).read_bytes())

    def start(self) -> None:
        """Start it, also again after it was stopped: its guests run on."""
        self.process = _start(self.folder)
        eventually(self.listens, within_s=_STARTS_WITHIN_S)

    def listens(self) -> bool:
        """Whether it can be connected to: its socket is there a moment before that."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def stop(self) -> None:
        """Stop the daemon alone."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(timeout=30)
        self.socket.unlink(missing_ok=True)


@contextmanager
def running_daemon() -> Iterator[Daemon]:
    """A daemon, and in the end nothing: neither it nor a guest."""
    # Short: a path of a Unix socket has at most 107 bytes. Not pytest's: nobody may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="vgpu-libvirt-", dir="/tmp"))
    folder.chmod(0o755)
    for name in ("run", "config/libvirt", "cache", "data"):
        (folder / name).mkdir(parents=True, mode=0o700)
    (folder / "config/libvirt/qemu.conf").write_text(_QEMU_CONF)
    (folder / "libvirtd.conf").touch()
    for path in (folder, *folder.rglob("*")):
        _give(path)
    with _reaping():
        daemon = Daemon(folder, _start(folder))
        try:
            eventually(daemon.listens, within_s=_STARTS_WITHIN_S)
            yield daemon
        finally:
            daemon.stop()
            _end_guests(folder)
            shutil.rmtree(folder)


@contextmanager
def _reaping() -> Iterator[None]:
    """Collect the guests that have ended, at once: libvirt waits for that, and a container's init may take seconds."""
    over = threading.Event()
    reaper = threading.Thread(target=_reap_guests, args=(over,), daemon=True)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    reaper.start()
    try:
        yield
    finally:
        over.set()
        reaper.join()
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


def _reap_guests(over: threading.Event) -> None:
    """Guests alone: whoever started another child waits for it."""
    while not over.wait(POLL_S):
        with suppress(ChildProcessError, FileNotFoundError, ProcessLookupError):
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None and Path(f"/proc/{ended.si_pid}/comm").read_text().startswith("qemu-system"):
                os.waitpid(ended.si_pid, 0)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    variables = {"RUNTIME_DIR": "run", "CONFIG_HOME": "config", "CACHE_HOME": "cache", "DATA_HOME": "data"}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    environment |= {f"XDG_{name}": str(folder / place) for name, place in variables.items()}
    with (folder / "daemon.log").open("ab") as log:
        return subprocess.Popen(
            [_LIBVIRTD, "--config", str(folder / "libvirtd.conf")],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **_as_nobody(),
        )


def _as_nobody() -> dict[str, object]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _end_guests(folder: Path) -> None:
    """A guest outlives its daemon: end each that has a file of ours open, by its own id."""
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"].startswith("qemu-system") and any(
            str(folder) in word for word in process.info["cmdline"]
        ):
            process.kill()
            eventually(lambda pid=process.pid: is_gone(pid))
