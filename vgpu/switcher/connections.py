"""Connections to providers: opened when first needed, one call at a time each, opened anew where the file says another.

A provider's call blocks, some for as long as its library likes. So each physical GPU is worked on in a thread of its
own (`vgpu.switcher.running`), and a provider that hangs keeps back only those who wait for it here.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vgpu.adapters.kube_errors import Unavailable
from vgpu.switcher.providers.port import Provider, ProviderError
from vgpu.switcher.providers.settings import ProviderSettings

log = logging.getLogger(__name__)

Open = Callable[[ProviderSettings], Provider]
"""Connects; raises `ProviderError` or `ImportError`."""

WAIT_S = 30.0
"""How long one waits for another's call of a provider to end."""

Count = Callable[[str, str], None]
"""Told of each failed call: provider and operation."""


@dataclass(slots=True)
class _Line:
    """One provider's connection and who may use it now."""

    settings: ProviderSettings
    provider: Provider | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_over: bool = False

    def close(self) -> None:
        """Give the connection back; where somebody uses it, who may never come back, it is left to that one."""
        self.is_over = True
        if not self.lock.acquire(blocking=False):
            return
        try:
            if self.provider is not None:
                self.provider.close()
            self.provider = None
        finally:
            self.lock.release()


class Connections:
    """All providers of the file, by name. Safe for several threads."""

    def __init__(self, connect: Open, *, count: Count = lambda provider, operation: None) -> None:
        self._connect, self._count = connect, count
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()

    @contextmanager
    def using(self, name: str, settings: ProviderSettings, operation: str) -> Iterator[Provider]:
        """The provider for one operation. Raises `ProviderError`, whatever it is that does not work."""
        line = self._line(name, settings)
        try:
            if not line.lock.acquire(timeout=WAIT_S):
                why = f"another call of it has not come back for {WAIT_S:g} s"
                raise ProviderError(f"use provider {name}", why, permanent=False)
            try:
                if line.provider is None:
                    line.provider = self._opened(name, settings)
                yield line.provider
            except (ProviderError, Unavailable):
                raise
            except Exception as fault:  # what a library does that nobody foresaw keeps back its own machines alone
                log.exception("provider %s, %s", name, operation)
                why = f"unforeseen {type(fault).__name__}; the log says where"
                raise ProviderError(f"{operation} by provider {name}", why, permanent=False) from fault
            finally:
                line.lock.release()
                if line.is_over:
                    line.close()
        except ProviderError:
            self._count(name, operation)
            raise

    def close(self) -> None:
        """Close all."""
        with self._lock:
            lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            line.close()

    def _line(self, name: str, settings: ProviderSettings) -> _Line:
        with self._lock:
            line = self._lines.get(name)
            if line is not None and line.settings == settings:
                return line
            self._lines[name] = _Line(settings)
            fresh = self._lines[name]
        if line is not None:
            line.close()
        return fresh

    def _opened(self, name: str, settings: ProviderSettings) -> Provider:
        try:
            return self._connect(settings)
        except ImportError as fault:
            why = f"{fault}; install the extra of pyproject.toml that this kind needs"
            raise ProviderError(f"open provider {name}", why, permanent=False) from fault
