"""Who holds how much of one emulated GPU's framebuffer.

A vGPU's profile reserves its size of the card when it is created; what its process allocates must fit in that size.
Rule: whole MiB, no clock, no I/O; what does not fit changes nothing.
"""


class FramebufferExhausted(MemoryError):
    """The slot's framebuffer has no room for an allocation: the emulated form of a GPU's out of memory."""

    def __init__(self, asked_mib: int, used_mib: int, size_mib: int) -> None:
        super().__init__(asked_mib, used_mib, size_mib)  # all of them, so that it survives pickling between processes
        self.asked_mib = asked_mib
        self.used_mib = used_mib
        self.size_mib = size_mib

    def __str__(self) -> str:
        return (
            f"framebuffer exhausted: asked for {self.asked_mib} MiB, {self.used_mib} of {self.size_mib} MiB are in use"
            f" and {self.size_mib - self.used_mib} MiB are free"
        )


class FramebufferLedger:
    """The framebuffer of one card of `total_mib`, cut into slots of fixed size."""

    def __init__(self, *, total_mib: int) -> None:
        if total_mib < 1:
            raise ValueError(f"total_mib is {total_mib}; a card has at least 1 MiB")
        self.total_mib = total_mib
        self._size_mib: dict[str, int] = {}
        self._used_mib: dict[str, int] = {}

    def attach(self, slot: str, size_mib: int) -> None:
        """Reserve `size_mib` of the card for `slot`; ValueError if the card has not so much left."""
        if slot in self._size_mib:
            raise ValueError(f"slot is {slot!r}; it has its framebuffer already")
        reserved_mib = sum(self._size_mib.values())
        if not 1 <= size_mib <= self.total_mib - reserved_mib:
            raise ValueError(
                f"size_mib is {size_mib} for slot {slot!r}; other slots hold {reserved_mib} of {self.total_mib} MiB,"
                f" so it can be 1 to {self.total_mib - reserved_mib}"
            )
        self._size_mib[slot] = size_mib
        self._used_mib[slot] = 0

    def allocate(self, slot: str, mib: int) -> None:
        """Take `mib` of the slot's framebuffer, or raise FramebufferExhausted."""
        if mib < 1:
            raise ValueError(f"mib is {mib}; an allocation takes at least 1 MiB")
        used_mib, size_mib = self._used_mib[slot], self._size_mib[slot]
        if used_mib + mib > size_mib:
            raise FramebufferExhausted(mib, used_mib, size_mib)
        self._used_mib[slot] += mib

    def free(self, slot: str, mib: int) -> None:
        """Give `mib` of the slot's framebuffer back."""
        if not 1 <= mib <= self._used_mib[slot]:
            raise ValueError(f"mib is {mib}; slot {slot!r} uses {self._used_mib[slot]} MiB and can free 1 to that many")
        self._used_mib[slot] -= mib

    def free_all(self, slot: str) -> None:
        """Give back all that the slot's process allocated, as its exit does."""
        self._used_mib[slot] = 0

    def size_mib(self, slot: str) -> int:
        """The slot's framebuffer."""
        return self._size_mib[slot]

    def used_mib(self, slot: str) -> int:
        """What the slot's process has allocated."""
        return self._used_mib[slot]

    def total_used_mib(self) -> int:
        """What all processes on the card have allocated."""
        return sum(self._used_mib.values())
