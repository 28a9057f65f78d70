"""What one emulated GPU answers to the processes attached to its slots.

A process attaches to one slot, allocates framebuffer and runs jobs; a job's reply is due when the emulated engine has
finished it. A process that leaves frees its slot, its framebuffer and its queue.
Rule: no clock and no sockets; every call says what time it is, and replies wait in the session's outbox.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from vgpu.emulator.background import BackgroundLoad
from vgpu.emulator.config import ArbiterConfig
from vgpu.emulator.engine import Engine
from vgpu.emulator.framebuffer import FramebufferExhausted, FramebufferLedger
from vgpu.emulator.messages import MalformedMessage, Operation, Refusal, Request, encode, parse_request
from vgpu.emulator.readings import Readings

NEED_SLOT = frozenset({Operation.ALLOCATE, Operation.FREE, Operation.RUN})


@dataclass(slots=True, eq=False)
class Session:
    """One connected process. `lost` is set when the device was lost under it, as a real context is."""

    slot: str = ""
    pid: int = 0
    lost: bool = False
    outbox: bytearray = field(default_factory=bytearray)

    def reply(self, request_id: int | None, **results: object) -> None:
        """Queue a reply that grants what was asked."""
        self.outbox += encode({"id": request_id, **results})

    def refuse(self, request_id: int | None, refusal: Refusal, message: str, **numbers: int) -> None:
        """Queue a reply that says what is wrong."""
        self.reply(request_id, error=refusal, message=message, **numbers)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    session: Session
    request_id: int
    submitted_ns: int


class Arbiter:
    """One emulated GPU: its engine, its framebuffer, its readings, and who is attached."""

    def __init__(self, config: ArbiterConfig, *, now_ns: int) -> None:
        self._config = config
        self._engine = Engine(
            policy=config.policy, slice_ns=config.slice_ns, most_per_gpu=config.most_per_gpu, now_ns=now_ns
        )
        self._ledger = FramebufferLedger(total_mib=config.framebuffer_mib)
        for slot in config.slots:
            self._ledger.attach(slot.slot_id, slot.framebuffer_mib)
        self._holders: dict[str, Session] = {}
        self._background = [BackgroundLoad(load.slot_id, load.duty_ratio, now_ns=now_ns) for load in config.background]
        for load in self._background:
            self._engine.attach(load.slot)
        self._lost = False
        self._readings = Readings(config, now_ns=now_ns)
        self._operations: dict[Operation, Callable[[Session, Request], None]] = {
            Operation.ATTACH: self._attach,
            Operation.ALLOCATE: self._allocate,
            Operation.FREE: self._free,
            Operation.RUN: self._run,
            Operation.STATUS: self._status,
            Operation.LOSE: self._lose,
            Operation.RESTORE: self._restore,
        }

    def receive(self, session: Session, line: bytes, now_ns: int) -> None:
        """Answer one line of a session, now or when its job is done. No line can stop the arbiter."""
        self.advance(now_ns)
        try:
            request = parse_request(line)
        except MalformedMessage as problem:
            session.refuse(problem.id, Refusal.MALFORMED, str(problem))
            return
        if request.operation in NEED_SLOT and session.lost:
            session.refuse(request.id, Refusal.DEVICE_LOST, "the device was lost; attach again once it is back")
        elif request.operation in NEED_SLOT and not session.slot:
            session.refuse(request.id, Refusal.NOT_ATTACHED, f"{request.operation} needs a slot; attach to one first")
        else:
            self._operations[request.operation](session, request)

    def leave(self, session: Session, now_ns: int) -> None:
        """The process is gone: free its slot, its framebuffer and its queue."""
        self.advance(now_ns)
        if session.slot:
            self._release(session)

    def advance(self, now_ns: int) -> None:
        """Run the engine up to now: jobs that finished are answered, readings that are due are written."""
        while due := [load for load in self._background if load.next_ns <= now_ns]:
            self._feed(min(due, key=lambda load: load.next_ns))
        self._run_engine(now_ns)
        if now_ns >= self._readings.next_ns:
            pids = {slot: session.pid for slot, session in self._holders.items()}
            self._readings.publish(self._engine, self._ledger, pids)

    def next_wake_ns(self) -> int:
        """When something is due next, if nobody asks for anything before."""
        due_ns = [self._readings.next_ns, *(load.next_ns for load in self._background)]
        finish_ns = self._engine.next_completion_ns()
        return min(due_ns if finish_ns is None else [*due_ns, finish_ns])

    def close(self) -> None:
        """Leave the GPU's readings behind as those of a lost device."""
        self._readings.close()

    def _run_engine(self, to_ns: int) -> None:
        for done in self._engine.advance(to_ns):
            if isinstance(done.job, _Job):  # nobody waits for the work of a scripted load
                job = done.job
                job.session.reply(job.request_id, submitted_ns=job.submitted_ns, finished_ns=done.finished_ns)

    def _feed(self, load: BackgroundLoad) -> None:
        self._run_engine(load.next_ns)
        demand_ns = load.take(self._engine.queued(load.slot))
        if demand_ns and not self._lost:
            self._engine.submit(load.slot, None, demand_ns)

    def _attach(self, session: Session, request: Request) -> None:
        if refused := self._attach_refusal(session, request.slot):
            session.refuse(request.id, *refused)
            return
        self._engine.attach(request.slot)
        self._holders[request.slot] = session
        session.slot, session.pid, session.lost = request.slot, request.pid, False
        session.reply(request.id, framebuffer_mib=self._ledger.size_mib(request.slot))

    def _attach_refusal(self, session: Session, slot: str) -> tuple[Refusal, str] | None:
        known = [config.slot_id for config in self._config.slots]
        if self._lost:
            return Refusal.DEVICE_LOST, "the device is lost"
        if slot not in known:
            return Refusal.UNKNOWN_SLOT, f"slot {slot!r} is not on this GPU; it has {', '.join(known)}"
        if session.slot:
            return Refusal.SLOT_TAKEN, f"this connection holds slot {session.slot!r} already"
        if slot in self._holders:
            return Refusal.SLOT_TAKEN, f"slot {slot!r} is held by process {self._holders[slot].pid}"
        if any(load.slot == slot for load in self._background):
            return Refusal.SLOT_TAKEN, f"slot {slot!r} carries a scripted load"
        return None

    def _release(self, session: Session) -> list[_Job]:
        """Free what the session holds; its unfinished jobs, which nobody will answer otherwise."""
        dropped = self._engine.detach(session.slot)
        self._ledger.free_all(session.slot)
        del self._holders[session.slot]
        session.slot = ""
        return [job for job in dropped if isinstance(job, _Job)]

    def _allocate(self, session: Session, request: Request) -> None:
        try:
            self._ledger.allocate(session.slot, request.mib)
        except FramebufferExhausted as full:
            numbers = {"asked_mib": full.asked_mib, "used_mib": full.used_mib, "size_mib": full.size_mib}
            session.refuse(request.id, Refusal.FRAMEBUFFER_EXHAUSTED, str(full), **numbers)
        else:
            session.reply(request.id, used_mib=self._ledger.used_mib(session.slot))

    def _free(self, session: Session, request: Request) -> None:
        try:
            self._ledger.free(session.slot, request.mib)
        except ValueError as problem:
            session.refuse(request.id, Refusal.MALFORMED, str(problem))
        else:
            session.reply(request.id, used_mib=self._ledger.used_mib(session.slot))

    def _run(self, session: Session, request: Request) -> None:
        job = _Job(session, request.id, self._engine.now_ns)
        self._engine.submit(session.slot, job, request.demand_ns)

    def _status(self, session: Session, request: Request) -> None:
        slots = {
            slot.slot_id: {
                "pid": self._holders[slot.slot_id].pid if slot.slot_id in self._holders else None,
                "busy_ns": self._engine.busy_ns(slot.slot_id),
                "framebuffer_used_mib": self._ledger.used_mib(slot.slot_id),
            }
            for slot in self._config.slots
        }
        session.reply(
            request.id,
            device_kind="emulated",
            gpu_uuid=self._config.gpu_uuid,
            board=self._config.board,
            policy=self._config.policy,
            slice_ns=self._config.slice_ns,
            lost=self._lost,
            now_ns=self._engine.now_ns,
            reserved_idle_ns=self._engine.reserved_idle_ns,
            slots=slots,
        )

    def _lose(self, session: Session, request: Request) -> None:
        """Every context on the device dies with it; only a new attachment after the restore works again."""
        self._lost = True
        for holder in list(self._holders.values()):
            holder.lost = True
            for job in self._release(holder):
                holder.refuse(job.request_id, Refusal.DEVICE_LOST, "the device was lost during the job")
        for load in self._background:
            self._engine.detach(load.slot)
            self._engine.attach(load.slot)
        self._readings.set_lost(True)
        session.reply(request.id)

    def _restore(self, session: Session, request: Request) -> None:
        self._lost = False
        self._readings.set_lost(False)
        session.reply(request.id)
