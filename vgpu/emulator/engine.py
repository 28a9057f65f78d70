"""When the jobs of several vGPUs finish on one time-sliced compute engine, in integer nanoseconds.

The engine serves one vGPU at a time and passes from seat to seat in a ring. The three scheduler policies differ only
in which seats take part: those with work (best effort), those of attached vGPUs (equal share), all that the profile
allows (fixed share). A seat that takes part without work leaves the engine idle for its slice.
Rule: nothing here reads a clock or sleeps; whoever calls says how far to advance. Every time is modelled, not measured.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from vgpu.core.share import SchedulerPolicy

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A job that the engine finished at `finished_ns`."""

    finished_ns: int
    slot: str
    job: Hashable


@dataclass(slots=True)
class _Job:
    name: Hashable
    left_ns: int


@dataclass(slots=True)
class _Seat:
    slot: str
    jobs: deque[_Job] = field(default_factory=deque)


def default_slice_ns(most_per_gpu: int) -> int:
    """The driver's default time slice: 2 ms up to 8 vGPUs per GPU, 1 ms above (NVIDIA vGPU guide, chapter 7).

    The guide gives no slice for best effort; the same lengths are our choice there.
    """
    return 2 * NS_PER_MS if most_per_gpu <= 8 else NS_PER_MS


class Engine:
    """One engine with `most_per_gpu` seats. Slots are named by strings; jobs by whatever the caller likes."""

    def __init__(self, *, policy: SchedulerPolicy, slice_ns: int, most_per_gpu: int, now_ns: int = 0) -> None:
        if slice_ns < 1:
            raise ValueError(f"slice_ns is {slice_ns}; a time slice lasts at least 1 ns")
        if most_per_gpu < 1:
            raise ValueError(f"most_per_gpu is {most_per_gpu}; a GPU carries at least 1 vGPU")
        self.policy = policy
        self.slice_ns = slice_ns
        self.now_ns = now_ns
        self.reserved_idle_ns = 0
        self._busy_ns: dict[str, int] = {}
        self._seats: list[_Seat | None] = [None] * most_per_gpu
        self._turn = most_per_gpu - 1  # the seat whose slice runs; the first slice goes to the seat after it
        self._turn_left_ns = 0

    def attach(self, slot: str) -> None:
        """Give `slot` the first free seat; from now on it is running."""
        if any(seat is not None and seat.slot == slot for seat in self._seats):
            raise ValueError(f"slot is {slot!r}; it is attached already")
        if None not in self._seats:
            raise ValueError(f"slot is {slot!r}; all {len(self._seats)} seats of the GPU are taken")
        self._seats[self._seats.index(None)] = _Seat(slot)
        self._busy_ns.setdefault(slot, 0)

    def detach(self, slot: str) -> tuple[Hashable, ...]:
        """Take `slot` off the engine and return its unfinished jobs, oldest first."""
        seat = self._seat_of(slot)
        self._seats[self._seats.index(seat)] = None
        return tuple(job.name for job in seat.jobs)

    def submit(self, slot: str, job: Hashable, demand_ns: int) -> None:
        """Queue a job that needs the whole engine for `demand_ns`; jobs of one slot run in order of arrival."""
        if demand_ns < 1:
            raise ValueError(f"demand_ns is {demand_ns}; a job needs the engine for at least 1 ns")
        self._seat_of(slot).jobs.append(_Job(job, demand_ns))

    def advance(self, to_ns: int) -> tuple[Completion, ...]:
        """Run the engine up to `to_ns` and return what finished on the way, in order of time."""
        if to_ns < self.now_ns:
            raise ValueError(f"to_ns is {to_ns}; the engine is at {self.now_ns} already and does not run backwards")
        done: list[Completion] = []
        while self.now_ns < to_ns:
            if self._turn_left_ns == 0 or not self._takes_part(self._seats[self._turn]):
                if not self._pass_turn():
                    self.now_ns = to_ns
                    break
                self._skip_rotations(to_ns)
            self._run_turn(to_ns, done)
        return tuple(done)

    def next_completion_ns(self) -> int | None:
        """When the next job finishes if none arrives; None if there is none.

        Until then the ring of n seats does not change, so a head job that needs d, whose seat's next own slice starts
        at s, finishes at s + floor((d - 1) / slice) * (n - 1) * slice + d.
        """
        ring = self._ring()
        others_ns = (len(ring) - 1) * self.slice_ns
        turn = self._seats[self._turn]
        held_ns = self._turn_left_ns if self._takes_part(turn) else 0
        finishes: list[int] = []
        for place, seat in enumerate(ring):
            if seat is None or not seat.jobs:
                continue
            need_ns = seat.jobs[0].left_ns
            if seat is turn:
                if need_ns <= held_ns:
                    finishes.append(self.now_ns + need_ns)
                    continue
                need_ns -= held_ns
            start_ns = self.now_ns + held_ns + place * self.slice_ns
            finishes.append(start_ns + (need_ns - 1) // self.slice_ns * others_ns + need_ns)
        return min(finishes, default=None)

    def busy_ns(self, slot: str) -> int:
        """Engine time that `slot` has used since it was first attached, over all its attachments."""
        return self._busy_ns.get(slot, 0)

    def queued(self, slot: str) -> int:
        """Unfinished jobs of `slot`."""
        return len(self._seat_of(slot).jobs)

    def _seat_of(self, slot: str) -> _Seat:
        for seat in self._seats:
            if seat is not None and seat.slot == slot:
                return seat
        raise ValueError(f"slot is {slot!r}; it is not attached to this GPU")

    def _takes_part(self, seat: _Seat | None) -> bool:
        match self.policy:
            case SchedulerPolicy.BEST_EFFORT:
                return seat is not None and bool(seat.jobs)
            case SchedulerPolicy.EQUAL_SHARE:
                return seat is not None
            case SchedulerPolicy.FIXED_SHARE:
                return True

    def _ring(self) -> list[_Seat | None]:
        """The seats that take part, from the one after the present turn round to the present turn."""
        after = self._turn + 1
        return [seat for seat in self._seats[after:] + self._seats[:after] if self._takes_part(seat)]

    def _pass_turn(self) -> bool:
        """Start the slice of the next seat that takes part; False if none does."""
        for step in range(1, len(self._seats) + 1):
            turn = (self._turn + step) % len(self._seats)
            if self._takes_part(self._seats[turn]):
                self._turn, self._turn_left_ns = turn, self.slice_ns
                return True
        return False

    def _skip_rotations(self, to_ns: int) -> None:
        """At the start of a slice, pass over the whole rotations in which nothing finishes, in one step.

        With 30 s of work per slot and 2 ms slices this replaces 15,000 steps a slot.
        """
        if to_ns - self.now_ns <= self.slice_ns:
            return
        ring = self._ring()
        heads = [(seat.slot, seat.jobs[0]) for seat in ring if seat is not None and seat.jobs]
        # One ns short of to_ns: who takes the slice that starts at to_ns is open until the engine goes on.
        limits = [(to_ns - self.now_ns - 1) // (len(ring) * self.slice_ns)]
        rotations = min(limits + [(job.left_ns - 1) // self.slice_ns for _, job in heads])
        served_ns = rotations * self.slice_ns
        for slot, job in heads:
            job.left_ns -= served_ns
            self._busy_ns[slot] += served_ns
        self.reserved_idle_ns += served_ns * (len(ring) - len(heads))
        self.now_ns += served_ns * len(ring)

    def _run_turn(self, to_ns: int, done: list[Completion]) -> None:
        """Run the present turn until its slice ends, its head job finishes or `to_ns` comes."""
        seat = self._seats[self._turn]
        job = seat.jobs[0] if seat is not None and seat.jobs else None
        span_ns = min(self._turn_left_ns, to_ns - self.now_ns)
        if seat is None or job is None:
            self.reserved_idle_ns += span_ns
        else:
            span_ns = min(span_ns, job.left_ns)
            job.left_ns -= span_ns
            self._busy_ns[seat.slot] += span_ns
        self.now_ns += span_ns
        self._turn_left_ns -= span_ns
        if seat is not None and job is not None and job.left_ns == 0:
            seat.jobs.popleft()
            done.append(Completion(finished_ns=self.now_ns, slot=seat.slot, job=job.name))
