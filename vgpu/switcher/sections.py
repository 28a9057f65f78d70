"""The switcher's file as it is written: each section strict, and each fault a line with where and the remedy."""

from collections.abc import Iterable
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

Json = Any
Section = TypeVar("Section", bound=BaseModel)

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PATTERN = r"^[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?$"  # with vgpu-switch- before it, the name of a ConfigMap
NODE_PATTERN = r"^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$"  # as Kubernetes names objects
CONFIG_PATTERN = r"^([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$"  # as the value of a label

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class GpuSection(BaseModel):
    """One physical GPU, or `cards` that are always cut alike."""

    model_config = STRICT

    board: str
    """As in slot types: v100, a100d."""
    provider: str
    """Who runs its machines: one of the file's `providers`."""
    policy: str = "best-effort"
    """How the card divides its time between guests; under fixed-share sizes are never mixed."""
    mixed_size: bool = False
    """Guests of different framebuffers at once; the hypervisor must be set to it."""
    allowed: list[str] = Field(default_factory=list)
    """Slot types that may be cut from it; any of its board where left out."""
    cards: int = Field(default=1, ge=1)
    """How many physical cards are cut alike, such as the eight of a node under MIG."""


class GuestSection(BaseModel):
    """One node that a layout cuts from a GPU."""

    model_config = STRICT

    node: str = Field(pattern=NODE_PATTERN)
    """The node's name."""
    profile: str
    """The slot type it offers, as its label vgpu.type will say: v100-4q-4GB."""
    machine: str = ""
    """What the provider calls it; the node's name where left out."""
    slots: int = Field(default=1, ge=1)
    """How many slots of it the node has."""
    config: str = Field(default="", pattern=CONFIG_PATTERN)
    """For a provider that recuts in place: the name of its configuration."""


class ScheduleSection(BaseModel):
    """When a layout comes."""

    model_config = STRICT

    layout: str
    """Which layout comes."""
    at: Json
    """Time of day in `time_zone`, HH:MM or HH:MM:SS, in quotes."""
    days: list[Weekday] | None = Field(default=None, min_length=1)
    """Days of the week; every day where left out."""
    dates: list[Json] | None = Field(default=None, min_length=1)
    """On these dates, and there only entries with that date count; in place of `days`."""


class OnDemandSection(BaseModel):
    """Layouts that are asked for because what waits fits nowhere else."""

    model_config = STRICT

    enabled: bool = False
    """Ask for a layout when replicas or pending pods find a slot only in it."""
    after_s: float = Field(default=120.0, ge=0, allow_inf_nan=False)
    """How long they must have waited."""
    rest_s: float = Field(default=1800.0, ge=0, allow_inf_nan=False)
    """How long a GPU is left alone after a switch."""


class PolicySection(BaseModel):
    """How a switch is done."""

    model_config = STRICT

    way: Literal["suspend", "power_off"] = "suspend"
    """How a machine gives up its card; one that cannot be suspended is powered off."""
    batch: Literal["evict", "wait", "refuse"] = "evict"
    """Pods of others on nodes that leave: evict them, wait for their end, or refuse the switch."""
    without_room: Literal["refuse", "evict"] = "refuse"
    """When replicas would find no seat at the lowest point: refuse the switch, or evict them all the same."""
    snapshot: bool = False
    """Take a snapshot of each machine before it is stopped."""
    announce_s: float = Field(default=300.0, ge=0, allow_inf_nan=False)
    """How long before a scheduled switch the autoscaler is told."""
    late_s: float = Field(default=3600.0, ge=0, allow_inf_nan=False)
    """How late a scheduled switch is still begun."""
    parallel: int = Field(default=1, ge=1)
    """How many GPUs are switched at once."""
    timeouts_s: dict[str, float] = Field(default_factory=dict)
    """How long each step may take, in seconds in which everything could be seen."""


class VsphereSection(BaseModel):
    """A vCenter."""

    model_config = STRICT

    kind: Literal["vsphere"]
    host: str = Field(min_length=1)
    """Address of the vCenter."""
    user_file: str = Field(min_length=1)
    """File with the name to log in by."""
    password_file: str = Field(min_length=1)
    """File with the password."""
    port: int = Field(default=443, ge=1, le=65535)
    """Its HTTPS port."""
    ca_file: str | None = None
    """Who signed its certificate, as PEM; the system's authorities where left out."""
    datacenter: str = ""
    """Where the machines are looked for; everywhere where left out."""
    verify: bool = True
    """Verify its certificate; false is warned of at each start."""


class LibvirtSection(BaseModel):
    """A libvirt daemon."""

    model_config = STRICT

    kind: Literal["libvirt"]
    uri: str = Field(min_length=1)
    """Which daemon and how it is reached, such as qemu+tls://host/system."""

    @field_validator("uri")
    @classmethod
    def _holds_no_password(cls, uri: str) -> str:
        if urlsplit(uri).password is not None:
            raise ValueError("has a password in it, which libvirt does not use; take it out, see auth.conf of libvirt")
        return uri


class NodeConfigSection(BaseModel):
    """What recuts by a node's label."""

    model_config = STRICT

    kind: Literal["vgpu_device_manager", "mig"]


class EmulatedSection(BaseModel):
    """The embedded cluster's hypervisor stand-in."""

    model_config = STRICT

    kind: Literal["emulated"]
    url: str = Field(min_length=1)
    """Where it listens."""
    token_file: str = Field(min_length=1)
    """File with its bearer token."""


PROVIDERS: dict[str, type[BaseModel]] = {
    "vsphere": VsphereSection,
    "libvirt": LibvirtSection,
    "vgpu_device_manager": NodeConfigSection,
    "mig": NodeConfigSection,
    "emulated": EmulatedSection,
}


class File(BaseModel):
    """The whole file; what is below is checked section by section, so that one fault hides no other."""

    model_config = STRICT

    time_zone: str = "UTC"
    gpus: dict[str, Json]
    layouts: dict[str, dict[str, list[Json]]]
    schedule: list[Json] = Field(default_factory=list)
    on_demand: Json = Field(default_factory=dict)
    policy: Json = Field(default_factory=dict)
    providers: dict[str, Json]


def section(kind: type[Section], given: Json, where: str, problems: list[str]) -> Section | None:
    """Check one section; None, and its problems listed, where it is wrong."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        problems += [_line(entry, [where, *_spelt(entry["loc"])]) for entry in error.errors()]
        return None


def _spelt(location: Iterable[int | str]) -> list[str]:
    return [str(part) for part in location]


def _line(entry: Json, parts: list[str]) -> str:
    where = ".".join(filter(None, parts)) or "the file"
    match entry["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key; remove it or correct its spelling"
        case "missing":
            return f"{where}: missing; it has no default"
        case "model_type" | "dict_type":
            return f"{where}: expected a mapping"
    said = entry["msg"].removeprefix("Input ").removeprefix("Value error, ")
    # What stands where a provider's file of secrets should be named may be the secret.
    return f"{where}: {said}" if parts[0].startswith("providers.") else f"{where}: {said}, and it is {entry['input']!r}"
