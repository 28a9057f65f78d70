"""Work that takes minutes, such as writing a guest's memory to disk: one piece at a time for a machine, in a thread.

Whoever asks hears at once what fails at once. What fails later is heard when the same is asked for again; then it may
be begun anew by asking once more.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import libvirt

from vgpu.switcher.providers.libvirt_faults import fault
from vgpu.switcher.providers.port import ProviderError

# A daemon works on five calls of one client at a time (libvirtd.conf, max_client_requests): two stay for questions.
MOST_AT_ONCE = 3
# A failure that nobody came to hear of for so long is of another switch: it says nothing of the next one.
NEWS_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A piece of work under way, or what became of it."""

    what: str
    machine: str
    began_s: float
    ended: threading.Event = field(default_factory=threading.Event)
    faults: list[tuple[float, ProviderError]] = field(default_factory=list)  # when, and what

    @property
    def title(self) -> str:
        return f"{self.what} {self.machine}"


class Jobs:
    """The work of one provider."""

    def __init__(self, *, patience_s: float, bound_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._patience_s = patience_s
        self._bound_s = bound_s
        self._clock = clock
        self._of: dict[str, Job] = {}
        self._room = threading.Semaphore(MOST_AT_ONCE)

    def under_way(self, machine: str) -> Job | None:
        """The work on a machine that has not ended."""
        job = self._of.get(machine)
        return None if job is None or job.ended.is_set() else job

    def refusal(self, what: str, machine: str) -> ProviderError | None:
        """Why this cannot be asked of the machine now: something else is being done, or what is takes too long."""
        job = self.under_way(machine)
        if job is None:
            return None
        since_s = self._clock() - job.began_s
        if since_s > self._bound_s:
            return ProviderError(job.title, f"not done after {self._bound_s:g} s; given up", permanent=False)
        if job.what != what:
            why = f"{job.what} is under way since {since_s:.0f} s"
            return ProviderError(f"{what} {machine}", why, permanent=False)
        return None

    def is_late(self, machine: str) -> bool:
        """Whether the work on a machine takes longer than it may."""
        job = self.under_way(machine)
        return job is not None and self._clock() - job.began_s > self._bound_s

    def give_up(self, machine: str) -> None:
        """Forget the work on a machine, which goes on in its thread for as long as it does."""
        self._of.pop(machine, None)

    def begin(self, what: str, machine: str, work: Callable[[], None]) -> None:
        """Do `work`, and wait for it no longer than the patience; raise ProviderError for what failed by then.

        Nothing may be under way on the machine. A failure of the same work before is raised instead, once.
        """
        before = self._of.get(machine)
        if before is not None and before.what == what:
            self._collect(before)
        job = Job(what=what, machine=machine, began_s=self._clock())
        self._of[machine] = job
        threading.Thread(target=self._do, args=(job, work), daemon=True, name=f"libvirt {job.title}").start()
        if job.ended.wait(self._patience_s):
            self._collect(job)

    def _collect(self, job: Job) -> None:
        self._of.pop(job.machine, None)
        for at_s, error in job.faults:
            if self._clock() - at_s <= NEWS_S:
                raise error

    def _do(self, job: Job, work: Callable[[], None]) -> None:
        try:
            with self._room:
                work()
        except libvirt.libvirtError as error:
            job.faults.append((self._clock(), fault(job.title, error)))
        except ProviderError as error:
            job.faults.append((self._clock(), error))
        except Exception as error:  # the caller's to hear: nobody hears a thread
            why = f"unforeseen {type(error).__name__}"
            job.faults.append((self._clock(), ProviderError(job.title, why, permanent=False)))
        finally:
            job.ended.set()
