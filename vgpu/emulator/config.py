"""What one emulated GPU is: read from JSON, refused with every problem at once.

Rule: a config that passes here can be served; no later step finds fault with it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgpu.core.share import SchedulerPolicy
from vgpu.emulator.engine import NS_PER_MS, default_slice_ns

MOST_SLOTS = 32  # vGPUs per GPU in NVIDIA's tables
SHORTEST_SLICE_NS = NS_PER_MS  # the driver accepts slices of 1 to 30 ms
LONGEST_SLICE_NS = 30 * NS_PER_MS
LONGEST_SOCKET_PATH = 107  # bytes that Linux keeps for the name of a Unix socket
LONGEST_NAME = 79  # bytes that the NVML state file keeps for a name or UUID
MOST_MIB = 1 << 24
_REQUIRED = object()


class ConfigError(ValueError):
    """A config that cannot be served; `problems` says everything that is wrong with it, and what to do."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotConfig:
    """One vGPU cut from the card, and the NVML state file its guest reads (None: nobody reads it)."""

    slot_id: str
    profile_name: str
    framebuffer_mib: int
    device_uuid: str
    nvml_state: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundConfig:
    """A scripted neighbour that wants `duty_ratio` of the whole engine on its slot."""

    slot_id: str
    duty_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArbiterConfig:
    """One emulated physical GPU."""

    gpu_uuid: str
    board: str
    gpu_name: str
    framebuffer_mib: int
    policy: SchedulerPolicy
    slice_ns: int
    most_per_gpu: int
    socket: Path
    slots: tuple[SlotConfig, ...]
    host_nvml_state: Path | None
    """What the hypervisor's own NVML reads."""
    bare_nvml_state: Path | None
    """What a node reads that has the whole card, without a hypervisor, and shares it by units."""
    background: tuple[BackgroundConfig, ...]


def parse_config(text: str) -> ArbiterConfig:
    """Read a config from JSON text, or raise ConfigError with every problem."""
    try:
        document = json.loads(text)
    except ValueError as problem:
        raise ConfigError([f"the config is not JSON ({problem}); write one JSON object"]) from problem
    problems: list[str] = []
    fields = _Fields(document, "", problems)
    slice_limits = SHORTEST_SLICE_NS, LONGEST_SLICE_NS, SHORTEST_SLICE_NS
    most_per_gpu = fields.whole("most_per_gpu", 1, MOST_SLOTS, MOST_SLOTS)
    config = ArbiterConfig(
        gpu_uuid=fields.text("gpu_uuid", LONGEST_NAME),
        board=fields.text("board", LONGEST_NAME),
        gpu_name=fields.text("gpu_name", LONGEST_NAME),
        framebuffer_mib=fields.whole("framebuffer_mib", 1, MOST_MIB, MOST_MIB),
        policy=fields.policy("policy"),
        slice_ns=fields.whole("slice_ns", *slice_limits, default_slice_ns(most_per_gpu)),
        most_per_gpu=most_per_gpu,
        socket=Path(fields.text("socket", LONGEST_SOCKET_PATH)),
        slots=tuple(_slot(entry) for entry in fields.entries("slots")),
        host_nvml_state=fields.path("host_nvml_state"),
        bare_nvml_state=fields.path("bare_nvml_state"),
        background=tuple(_background(entry) for entry in fields.entries("background", [])),
    )
    fields.refuse_unknown()
    problems += _contradictions(config)
    if problems:
        raise ConfigError(problems)
    return config


def _slot(fields: "_Fields") -> SlotConfig:
    slot = SlotConfig(
        slot_id=fields.text("slot_id", LONGEST_NAME),
        profile_name=fields.text("profile_name", LONGEST_NAME),
        framebuffer_mib=fields.whole("framebuffer_mib", 1, MOST_MIB, 1),
        device_uuid=fields.text("device_uuid", LONGEST_NAME),
        nvml_state=fields.path("nvml_state"),
    )
    fields.refuse_unknown()
    return slot


def _background(fields: "_Fields") -> BackgroundConfig:
    load = BackgroundConfig(slot_id=fields.text("slot_id", LONGEST_NAME), duty_ratio=fields.ratio("duty_ratio"))
    fields.refuse_unknown()
    return load


def _contradictions(config: ArbiterConfig) -> list[str]:
    """What each field allows and the whole does not."""
    problems = []
    if len(config.slots) > config.most_per_gpu:
        problems.append(f"slots has {len(config.slots)} entries and most_per_gpu is {config.most_per_gpu}; drop slots")
    reserved_mib = sum(slot.framebuffer_mib for slot in config.slots)
    if reserved_mib > config.framebuffer_mib:
        problems.append(
            f"the slots hold {reserved_mib} MiB and the card has {config.framebuffer_mib};"
            " drop slots or use smaller profiles"
        )
    sizes = {slot.framebuffer_mib for slot in config.slots}
    if config.policy is SchedulerPolicy.FIXED_SHARE and len(sizes) > 1:
        problems.append("policy fixed-share takes slots of one size only; use equal-share or make the sizes equal")
    for field in ("slot_id", "device_uuid"):
        problems += _repeated(field, [getattr(slot, field) for slot in config.slots])
    whole_card = [config.host_nvml_state, config.bare_nvml_state]
    problems += _repeated("nvml_state", [*whole_card, *(slot.nvml_state for slot in config.slots)])
    problems += _repeated("background slot_id", (load.slot_id for load in config.background))
    known = {slot.slot_id for slot in config.slots}
    problems += [
        f"background names slot {load.slot_id!r}; the slots are {', '.join(sorted(known))}"
        for load in config.background
        if load.slot_id not in known
    ]
    files = [config.socket, *whole_card, *(slot.nvml_state for slot in config.slots)]
    folders = {file.parent for file in files if file is not None}
    return problems + [f"folder {folder} does not exist; make it" for folder in sorted(folders) if not folder.is_dir()]


def _repeated(field: str, values: Iterable[object]) -> list[str]:
    counts = Counter(value for value in values if value)
    return [f"{field} {value} is used {count} times; make each unique" for value, count in counts.items() if count > 1]


class _Fields:
    """Takes typed fields out of one JSON object; what is wrong joins `problems` and a harmless `stand_in` goes on."""

    def __init__(self, document: object, where: str, problems: list[str]) -> None:
        self._document: Mapping[str, Any] = document if isinstance(document, dict) else {}
        self._where = where
        self._problems = problems
        self._known: set[str] = set()
        if not isinstance(document, dict):
            problems.append(f"{where or 'the config'} is not a JSON object; give one")

    def text(self, key: str, longest: int) -> str:
        value = self._take(key)
        if isinstance(value, str) and 1 <= len(value.encode()) <= longest:
            return value
        self._refuse(key, value, f"text of 1 to {longest} bytes")
        return ""

    def whole(self, key: str, least: int, most: int, stand_in: int, default: object = _REQUIRED) -> int:
        value = self._take(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self._refuse(key, value, f"a whole number from {least} to {most}")
        return stand_in

    def ratio(self, key: str) -> float:
        value = self._take(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
            return float(value)
        self._refuse(key, value, "a number above 0 and up to 1")
        return 1.0

    def policy(self, key: str) -> SchedulerPolicy:
        value = self._take(key)
        if isinstance(value, str) and value in list(SchedulerPolicy):
            return SchedulerPolicy(value)
        self._refuse(key, value, " or ".join(SchedulerPolicy))
        return SchedulerPolicy.BEST_EFFORT

    def path(self, key: str) -> Path | None:
        value = self._take(key, None)
        if isinstance(value, str) and value:
            return Path(value)
        if value is not None:
            self._refuse(key, value, "a path or null")
        return None

    def entries(self, key: str, default: object = _REQUIRED) -> list["_Fields"]:
        value = self._take(key, default)
        if isinstance(value, list) and (value or default is not _REQUIRED):
            return [_Fields(entry, f"{key}[{index}]", self._problems) for index, entry in enumerate(value)]
        self._refuse(key, value, "a list of at least one object")
        return []

    def refuse_unknown(self) -> None:
        self._problems += [
            f"{self._name(key)} is not a known key; remove it or use one of {', '.join(sorted(self._known))}"
            for key in self._document
            if key not in self._known
        ]

    def _take(self, key: str, default: object = _REQUIRED) -> object:
        self._known.add(key)
        return self._document.get(key, default)

    def _refuse(self, key: str, value: object, wanted: str) -> None:
        found = "missing" if value is _REQUIRED else json.dumps(value)
        self._problems.append(f"{self._name(key)} is {found}; give {wanted}")

    def _name(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key
