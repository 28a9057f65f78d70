"""A vGPU profile: which fraction of which board, read from a node label or from NVIDIA's own name.

One spelling in, the same spelling out: `parse_profile(p.label) == p == parse_profile(p.name)`. A text whose parts
contradict each other (8q with 16GB, 32q on a 16 GB board) is refused with both parts and the remedy, so a pool with no
node yet still has a known capacity: its label is the schema.
"""

import re
from dataclasses import dataclass

from vgpu.core.share import UNITS_PER_GPU, Share

MIB_PER_GB = 1024

# Framebuffer in GB of one physical GPU, under the name that NVIDIA's vGPU types carry.
# Maxwell to Turing: "Virtual GPU Types" in the vGPU 10 user guide. Ampere: the types of driver 510.47 (A100X is the
# 40 GB HGX card, A100D and A100DX have 80 GB). Ada and Hopper: "vGPU Types Reference" of NVIDIA AI Enterprise 7.
# A board with several GPUs (M10, M60, A16) is listed by what one of its GPUs has.
_BOARDS = {
    8: "M6 M10 M60 P4",
    12: "P100C",
    16: "P6 P100 P100X V100 V100X V100L T4 A2 A16",
    24: "P40 RTX6000 RTX6000P A10 A30 RTXA5000 RTXA5500 L4",
    32: "V100D V100DX V100S",
    40: "A100 A100X",
    48: "RTX8000 RTX8000P A40 RTXA6000 L40 L40S RTX6000-Ada",
    64: "H100XS",
    80: "A100D A100DX H100 H100XM H800 H800XM",
    94: "H100L H100XL H800L",
    96: "H20",
    141: "H200 H200X H20X",
}
BOARD_GB = {board: gigabytes for gigabytes, boards in _BOARDS.items() for board in boards.split()}
_SPELLING = {board.lower(): board for board in BOARD_GB}

# NVIDIA's drivers run at most 32 vGPUs on one GPU: RTX8000-1Q and H200-4C stop there although more would fit.
_MOST_VGPUS = 32
# The one published maximum that the framebuffer does not explain: 141 GB would hold 17 of 8 GB.
_MOST_PER_GPU = {("h200", 8): 16, ("h200x", 8): 16, ("h20x", 8): 16}

# A MIG card is cut into compute slices and memory slices (MIG user guide, "Supported MIG Profiles").
_MIG_SLICES = {"a30": (4, 4)}
_MIG_SLICES |= {
    board.lower(): (7, 8) for board in BOARD_GB if board.startswith(("A100", "H100", "H800", "H200", "H20"))
}
# +me and +me.all take the media engines, of which a card has one set.
_ONE_PER_GPU = ("me", "meall")
_ATTRIBUTES = ("", "me", "nome", "meall", "gfx")

_PATTERN = re.compile(
    r"^(?:(?:grid|nvidia)[ _-])?(?P<board>[a-z0-9]+(?:-ada)?)"
    r"(?:-(?P<slices>[1-9]))?-(?P<gigabytes>0|[1-9][0-9]*)(?P<series>[abcq])(?P<attribute>nome|meall|me|gfx)?"
    r"(?:-(?P<size>[0-9]+)(?P<size_unit>gb|mb))?$"
)


class ProfileError(ValueError):
    """A profile that cannot exist; the message names the parts and what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A named share of one board, as in NVIDIA vGPU; `mig_slices` is None for a time-sliced profile."""

    board: str
    gigabytes: int
    series: str
    mig_slices: int | None = None
    attribute: str = ""

    def __post_init__(self) -> None:
        if self.board not in _SPELLING:
            raise ProfileError(f"board {self.board!r} is not known; known boards: {', '.join(sorted(_SPELLING))}")
        if self.series not in ("a", "b", "c", "q"):
            raise ProfileError(f"series is {self.series!r}; one of a, b, c, q")
        if self.gigabytes < 0 or self.gigabytes > self.board_gigabytes:
            raise ProfileError(
                f"'{self.gigabytes}{self.series}' asks for {self.gigabytes} GB and board {self.board!r} has "
                f"{self.board_gigabytes} GB; {self._remedy()}"
            )
        self._check_mig()

    def _check_mig(self) -> None:
        if self.attribute not in _ATTRIBUTES:
            raise ProfileError(f"attribute is {self.attribute!r}; one of {', '.join(_ATTRIBUTES[1:])} or none")
        if self.mig_slices is None:
            if self.attribute:
                raise ProfileError(f"attribute {self.attribute!r} belongs to MIG profiles; this one names no slices")
            return
        if self.board not in _MIG_SLICES:
            raise ProfileError(f"{self.mig_slices} MIG slices on board {self.board!r}, which has no MIG")
        compute, _ = _MIG_SLICES[self.board]
        if not 1 <= self.mig_slices <= compute or self._memory_slices < 1:
            raise ProfileError(
                f"{self.mig_slices} MIG slices with {self.gigabytes} GB; board {self.board!r} has {compute} slices "
                f"and no instance without memory"
            )

    def _remedy(self) -> str:
        family = re.match(r"[a-z]+[0-9]+", self.board)
        larger = [
            board
            for board in sorted(_SPELLING)
            if family and board.startswith(family.group()) and BOARD_GB[_SPELLING[board]] >= self.gigabytes
        ]
        at_most = f"use a profile of at most {self.board_gigabytes} GB"
        return f"{at_most}, or one of the boards {', '.join(larger)}" if larger else at_most

    @property
    def board_gigabytes(self) -> int:
        return BOARD_GB[_SPELLING[self.board]]

    @property
    def board_framebuffer_mib(self) -> int:
        return self.board_gigabytes * MIB_PER_GB

    @property
    def framebuffer_mib(self) -> int:
        """Framebuffer of one slot; NVIDIA writes 512 MB as 0."""
        return self.gigabytes * MIB_PER_GB if self.gigabytes else MIB_PER_GB // 2

    @property
    def _memory_slices(self) -> int:
        # Names are rounded: 3-71C of an H200 is 71 of 141 GB and takes 4 of its 8 memory slices.
        _, memory = _MIG_SLICES[self.board]
        return (2 * memory * self.gigabytes + self.board_gigabytes) // (2 * self.board_gigabytes)

    @property
    def board_mig_slices(self) -> int | None:
        """Compute slices of the whole board; None for a time-sliced profile."""
        return None if self.mig_slices is None else _MIG_SLICES[self.board][0]

    @property
    def units(self) -> int:
        """Units of 1/1000 GPU: the part of the framebuffer, or of the memory slices under MIG, rounded down."""
        if self.mig_slices is not None:
            return UNITS_PER_GPU * self._memory_slices // _MIG_SLICES[self.board][1]
        return UNITS_PER_GPU * self.framebuffer_mib // self.board_framebuffer_mib

    @property
    def most_per_gpu(self) -> int:
        """How many vGPUs of this profile one physical GPU can run, when all have this size."""
        if self.mig_slices is not None:
            compute, memory = _MIG_SLICES[self.board]
            return (
                1 if self.attribute in _ONE_PER_GPU else min(compute // self.mig_slices, memory // self._memory_slices)
            )
        fits = self.board_framebuffer_mib // self.framebuffer_mib
        return _MOST_PER_GPU.get((self.board, self.gigabytes), min(_MOST_VGPUS, fits))

    @property
    def share(self) -> Share:
        return Share(units=self.units, framebuffer_mib=self.framebuffer_mib)

    @property
    def _body(self) -> str:
        slices = "" if self.mig_slices is None else f"{self.mig_slices}-"
        return f"-{slices}{self.gigabytes}"

    @property
    def label(self) -> str:
        """The value of the node label `vgpu.type`, such as v100-8q-8GB."""
        size = f"{self.gigabytes}GB" if self.gigabytes else "512MB"
        return f"{self.board}{self._body}{self.series}{self.attribute}-{size}"

    @property
    def name(self) -> str:
        """NVIDIA's own name, such as V100-8Q or A100-1-5CME."""
        return f"{_SPELLING[self.board]}{self._body}{self.series.upper()}{self.attribute.upper()}"


def parse_profile(text: str) -> Profile:
    """Parse a label (`v100-8q-8GB`) or a name (`GRID V100-8Q`, `NVIDIA A100-1-5CME`); raise ProfileError."""
    match = _PATTERN.match(text.strip().lower())
    if match is None:
        raise ProfileError(
            f"{text!r} is no vGPU profile; write <board>-<GB><series>-<GB>GB such as v100-8q-8GB, "
            f"or NVIDIA's name such as A100-1-5CME"
        )
    try:
        profile = Profile(
            board=match["board"],
            gigabytes=int(match["gigabytes"]),
            series=match["series"],
            mig_slices=int(match["slices"]) if match["slices"] else None,
            attribute=match["attribute"] or "",
        )
    except ProfileError as error:
        raise ProfileError(f"{text!r}: {error}") from None
    if match["size"]:
        _check_size(text, profile, int(match["size"]), match["size_unit"])
    return profile


def _check_size(text: str, profile: Profile, size: int, size_unit: str) -> None:
    said_mib = size * MIB_PER_GB if size_unit == "gb" else size
    if said_mib == profile.framebuffer_mib:
        return
    means = f"{profile.gigabytes} GB" if profile.gigabytes else "512 MB"
    remedy = f"write {profile.label}"
    if size_unit == "gb" and 0 < size <= profile.board_gigabytes and profile.mig_slices is None:
        remedy += f" or {Profile(board=profile.board, gigabytes=size, series=profile.series).label}"
    raise ProfileError(
        f"{text!r} contradicts itself: '{profile.gigabytes}{profile.series}' means {means} and "
        f"'{size}{size_unit.upper()}' says {size} {size_unit.upper()}; {remedy}"
    )
