"""What the plugin is told at its start, checked as a whole: every problem in one refusal."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from vgpu.core import names
from vgpu.core.share import UNITS_PER_GPU, SchedulerPolicy
from vgpu.deviceplugin.allocation import SlotFacts
from vgpu.deviceplugin.service import Mode

PLUGIN_DIR = "/var/lib/kubelet/device-plugins"  # the kubelet's own; another root directory moves it
LISTEN = ("127.0.0.1", 9401)
SAMPLE_PERIOD_S = 5.0
LATE_SAMPLES, LEAST_STALE_S = 3, 15.0  # a driver that is late by so many samples, and so long, hangs
XID_QUIET_S = 300.0
# An application's own faults, which leave the card well (NVIDIA, "XID Errors"): graphics engine exception, memory page
# fault, channel stopped after one, preemptive clean-up, video processor exception, context switch time-out.
APPLICATION_XIDS = (13, 31, 43, 45, 68, 109)
_RESOURCE = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. `kubeconfig` None together with `in_cluster` False: Kubernetes is not asked."""

    node: str
    mode: Mode = Mode.ALLOCATE
    plugin_dir: str = PLUGIN_DIR
    resource: str = names.RESOURCE_VGPU
    units_per_device: int = 1
    policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT
    device_kind: str = "real"
    sample_period_s: float = SAMPLE_PERIOD_S
    xid_quiet_s: float = XID_QUIET_S
    ignored_xids: frozenset[int] = frozenset(APPLICATION_XIDS)
    listen: tuple[str, int] = LISTEN
    cdi_kind: str = ""
    in_cluster: bool = False
    kubeconfig: Path | None = None

    @property
    def facts(self) -> SlotFacts:
        return SlotFacts(node=self.node, policy=self.policy, device_kind=self.device_kind, cdi_kind=self.cdi_kind)

    @property
    def stale_s(self) -> float:
        """The age from which on a reading says nothing any more."""
        return max(LATE_SAMPLES * self.sample_period_s, LEAST_STALE_S)

    @property
    def asks_kubernetes(self) -> bool:
        return self.in_cluster or self.kubeconfig is not None

    def problems(self) -> tuple[str, ...]:
        """What cannot be, with the remedy."""
        found = []
        if not _RESOURCE.match(self.resource) or self.resource.partition("/")[0].endswith("kubernetes.io"):
            found.append(f"--resource {self.resource!r} is no extended resource; write domain/name, not kubernetes.io")
        if self.units_per_device < 1 or UNITS_PER_GPU % self.units_per_device:
            found.append(
                f"--units-per-device {self.units_per_device} does not divide {UNITS_PER_GPU}; take 1, 10 or 50"
            )
        elif self.units_per_device > 1 and self.resource == names.RESOURCE_VGPU:
            found.append(
                f"a quantity of {names.RESOURCE_VGPU} is a number of units everywhere, and --units-per-device "
                f"{self.units_per_device} makes it another; name the resource too: --resource "
                f"{names.RESOURCE_VGPU}-{self.units_per_device}"
            )
        if self.cdi_kind and not _RESOURCE.match(self.cdi_kind):
            found.append(f"--cdi-kind {self.cdi_kind!r} is no kind of device; write vendor/class, as in nvidia.com/gpu")
        if self.mode is Mode.NODE_STATUS and not self.asks_kubernetes:
            found.append("--mode node-status writes to the node; give --in-cluster or --kubeconfig")
        if self.sample_period_s <= 0 or self.xid_quiet_s < 0:
            found.append("--sample-period-s is above 0 and --xid-quiet-s not below")
        return tuple(found)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; `--help` has the rest."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="python -m vgpu.deviceplugin",
        description="Advertises this node's GPUs to the kubelet in units of 1/1000 GPU, and labels the node.",
    )
    add = parser.add_argument
    add("--node", required=True, help="name of the Kubernetes node")
    add(
        "--mode",
        choices=[mode.value for mode in Mode],
        default=Mode.ALLOCATE.value,
        help="allocate: the kubelet's device IDs decide the GPU; bookkeeping: they only count, beside another way of "
        "handing GPUs over; node-status: units stand in the node's status and the kubelet is not asked",
    )
    add("--plugin-dir", default=PLUGIN_DIR, help=f"the kubelet's socket directory ({PLUGIN_DIR})")
    add("--resource", default=names.RESOURCE_VGPU, help=f"extended resource to advertise ({names.RESOURCE_VGPU})")
    add("--units-per-device", type=int, default=1, help="units that one device of the resource stands for (1)")
    add(
        "--scheduler-policy",
        choices=[policy.value for policy in SchedulerPolicy],
        default=SchedulerPolicy.BEST_EFFORT.value,
        help="how the GPU's time is divided; a guest cannot read it (best-effort)",
    )
    add("--cdi-kind", default="", help="hand GPUs over as CDI devices of this kind, nvidia.com/gpu, by their UUID")
    add("--listen", default=LISTEN, type=_address, help="HOST:PORT of /metrics, /healthz, /readyz")
    api = parser.add_mutually_exclusive_group()
    api.add_argument("--in-cluster", action="store_true", help="label the node, as this pod's service account")
    api.add_argument("--kubeconfig", type=Path, help="label the node, by this file")
    _add_reading(parser)
    return parser


def _add_reading(parser: Parser) -> None:
    add = parser.add_argument
    add("--sample-period-s", type=float, default=SAMPLE_PERIOD_S, help=f"NVML is read so often ({SAMPLE_PERIOD_S:g})")
    add(
        "--xid-quiet-s",
        type=float,
        default=XID_QUIET_S,
        help=f"a GPU is unhealthy for so long after a critical XID ({XID_QUIET_S:g})",
    )
    add(
        "--ignored-xids",
        type=_xids,
        default=frozenset(APPLICATION_XIDS),
        help=f"XIDs that say nothing of the GPU ({','.join(map(str, APPLICATION_XIDS))})",
    )
    add(
        "--fake-nvml",
        action="store_true",
        help=f"read the emulated device whose state file {names.ENV_FAKE_NVML_STATE} names",
    )
    add("--forced", action="store_true", help="emulate even where a real driver answers")


def parse(parser: Parser, arguments: Sequence[str] | None) -> tuple[Settings, argparse.Namespace]:
    """Read the command line; end with status 2 and one line naming every problem."""
    given = parser.parse_args(arguments)
    settings = Settings(
        node=given.node,
        mode=Mode(given.mode),
        plugin_dir=given.plugin_dir,
        resource=given.resource,
        units_per_device=given.units_per_device,
        policy=SchedulerPolicy(given.scheduler_policy),
        device_kind="emulated" if given.fake_nvml else "real",
        sample_period_s=given.sample_period_s,
        xid_quiet_s=given.xid_quiet_s,
        ignored_xids=given.ignored_xids,
        listen=given.listen,
        cdi_kind=given.cdi_kind,
        in_cluster=given.in_cluster,
        kubeconfig=given.kubeconfig,
    )
    if problems := settings.problems():
        parser.error("; ".join(problems))
    return settings, given


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def _xids(text: str) -> frozenset[int]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of XIDs; write numbers with commas")
    return frozenset(map(int, words))
