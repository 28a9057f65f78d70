"""One emulated GPU and the processes attached to it, in modelled time: a card halved into slots a and b."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.emulator.build import config_text
from vgpu.emulator.arbiter import Arbiter, Session
from vgpu.emulator.config import parse_config
from vgpu.emulator.engine import NS_PER_MS
from vgpu.emulator.nvml_state import DeviceRecord, StateRecord
from vgpu.emulator.readings import PERIOD_NS

SECOND_NS = 1000 * NS_PER_MS


class Card:
    """An arbiter with its own time, and processes to talk to it."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.now_ns = 0
        self.arbiter = Arbiter(parse_config(config_text(folder, **changes)), now_ns=0)

    def process(self, slot: str, pid: int = 42) -> "Process":
        process = Process(self)
        assert process.ask(op="attach", slot=slot, pid=pid) == {"id": 1, "framebuffer_mib": 8192}
        return process

    def run_to(self, now_ms: float) -> None:
        """Advance as the server does: from one thing due to the next."""
        end_ns = round(now_ms * NS_PER_MS)
        while (wake_ns := self.arbiter.next_wake_ns()) < end_ns:
            self.arbiter.advance(wake_ns)
        self.now_ns = end_ns
        self.arbiter.advance(end_ns)

    def device(self, name: str) -> DeviceRecord:
        """What the guest of slot `name`, or the host, sees."""
        device = StateRecord.from_buffer_copy((self.folder / f"{name}.nvml").read_bytes()).devices[0]
        assert isinstance(device, DeviceRecord)
        return device


class Process:
    """One connection to a card."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._asked = 0
        self.session = Session()

    def say(self, line: bytes) -> list[dict[str, Any]]:
        self._card.arbiter.receive(self.session, line, self._card.now_ns)
        return self.replies()

    def send(self, **message: Any) -> list[dict[str, Any]]:
        self._asked += 1
        return self.say(json.dumps({"id": self._asked, **message}).encode())

    def ask(self, **message: Any) -> dict[str, Any]:
        (reply,) = self.send(**message)
        return reply

    def run(self, demand_ms: float) -> None:
        assert self.send(op="run", demand_ns=round(demand_ms * NS_PER_MS)) == []

    def replies(self) -> list[dict[str, Any]]:
        lines = bytes(self.session.outbox).splitlines()
        self.session.outbox.clear()
        return [json.loads(line) for line in lines]

    def finishes_ms(self) -> list[float]:
        return [reply["finished_ns"] / NS_PER_MS for reply in self.replies()]

    def leave(self) -> None:
        self._card.arbiter.leave(self.session, self._card.now_ns)


def test_a_job_is_answered_when_the_engine_has_finished_it_and_not_before(tmp_path: Path) -> None:
    card = Card(tmp_path)
    process = card.process("a")
    card.run_to(1)
    process.run(3)
    assert card.arbiter.next_wake_ns() == 4 * NS_PER_MS
    card.run_to(3.9)
    assert process.replies() == []
    card.run_to(4)
    assert process.replies() == [{"id": 2, "submitted_ns": NS_PER_MS, "finished_ns": 4 * NS_PER_MS}]


def test_jobs_of_one_process_run_in_order_and_may_be_many_at_once(tmp_path: Path) -> None:
    card = Card(tmp_path)
    process = card.process("a")
    for _ in range(3):
        process.run(1)
    card.run_to(10)
    assert process.finishes_ms() == [1, 2, 3]


def test_under_equal_share_an_attached_neighbour_halves_the_engine_and_an_absent_one_does_not(tmp_path: Path) -> None:
    card = Card(tmp_path)
    process, neighbour = card.process("a"), card.process("b")
    process.run(8)
    card.run_to(20)
    assert process.finishes_ms() == [14]
    neighbour.leave()
    process.run(8)
    card.run_to(40)
    assert process.finishes_ms() == [28]


def test_framebuffer_is_allocated_freed_and_exhausted(tmp_path: Path) -> None:
    process = Card(tmp_path).process("a")
    assert process.ask(op="allocate", mib=8000) == {"id": 2, "used_mib": 8000}
    assert process.ask(op="allocate", mib=200) == {
        "id": 3,
        "error": "framebuffer-exhausted",
        "message": "framebuffer exhausted: asked for 200 MiB, 8000 of 8192 MiB are in use and 192 MiB are free",
        "asked_mib": 200,
        "used_mib": 8000,
        "size_mib": 8192,
    }
    assert process.ask(op="free", mib=8001)["error"] == "malformed"
    assert process.ask(op="free", mib=8000) == {"id": 5, "used_mib": 0}


def test_a_process_that_leaves_frees_its_slot_its_framebuffer_and_its_queue(tmp_path: Path) -> None:
    card = Card(tmp_path)
    first = card.process("a")
    first.ask(op="allocate", mib=8192)
    first.run(5000)
    card.run_to(1)
    first.leave()
    second = card.process("a", pid=43)
    assert second.ask(op="allocate", mib=8192) == {"id": 2, "used_mib": 8192}
    second.run(2)
    card.run_to(10)
    assert (first.replies(), second.finishes_ms()) == ([], [3])


def test_a_slot_has_one_process_and_a_connection_one_slot(tmp_path: Path) -> None:
    card = Card(tmp_path, background=[{"slot_id": "b", "duty_ratio": 0.5}])
    holder, other = card.process("a"), Process(card)
    refusals = [
        other.ask(op="attach", slot="a", pid=43),
        other.ask(op="attach", slot="b", pid=43),
        other.ask(op="attach", slot="c", pid=43),
        holder.ask(op="attach", slot="a", pid=42),
    ]
    assert [(refusal["error"], refusal["message"]) for refusal in refusals] == [
        ("slot-taken", "slot 'a' is held by process 42"),
        ("slot-taken", "slot 'b' carries a scripted load"),
        ("unknown-slot", "slot 'c' is not on this GPU; it has a, b"),
        ("slot-taken", "this connection holds slot 'a' already"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"hello", "the message is not JSON"),
        (b"\xff\xfe", "the message is not JSON"),
        (b"[1]", "the message is not a JSON object"),
        (b'{"op":"run"}', "id is None; it is a whole number"),
        (b'{"id":true,"op":"run"}', "id is True; it is a whole number"),
        (b'{"id":7,"op":"dance"}', "op is 'dance'; it is one of attach, allocate, free, run, status, lose, restore"),
        (b'{"id":7,"op":["run"]}', "op is ['run']; it is one of"),
        (b'{"id":7,"op":"attach","pid":1}', "slot is ''; it is the slot_id of a slot"),
        (b'{"id":7,"op":"attach","slot":"a","pid":"me"}', "pid is 'me'; it is a whole number"),
        (b'{"id":7,"op":"run","demand_ns":-1}', "demand_ns is -1; it is a whole number from 1 to 3600000000000"),
        (b'{"id":7,"op":"run","demand_ns":1.5}', "demand_ns is 1.5; it is a whole number"),
        (b'{"id":7,"op":"allocate"}', "mib is None; it is a whole number"),
    ],
)
def test_a_malformed_message_is_named_and_the_next_one_served(tmp_path: Path, line: bytes, message: str) -> None:
    process = Card(tmp_path).process("a")
    (refusal,) = process.say(line)
    assert refusal["error"] == "malformed"
    assert refusal["message"].startswith(message)
    assert refusal["id"] == (7 if b'"id":7' in line else None)
    assert process.ask(op="allocate", mib=1) == {"id": 2, "used_mib": 1}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(
        st.binary(max_size=40)
        | st.dictionaries(
            st.sampled_from(["id", "op", "slot", "pid", "mib", "demand_ns"]),
            st.sampled_from(["attach", "run", "free", "lose", "restore", "a", "b"]) | st.integers() | st.none(),
        ).map(lambda message: json.dumps(message).encode()),
        max_size=10,
    )
)
def test_no_message_stops_the_arbiter(tmp_path: Path, lines: list[bytes]) -> None:
    card = Card(tmp_path)
    process = Process(card)
    for line in lines:
        process.say(line)
        card.run_to(card.now_ns / NS_PER_MS + 1)
    process.leave()
    Process(card).ask(op="restore")
    assert card.process("a").ask(op="allocate", mib=8192)["used_mib"] == 8192


def test_nothing_but_questions_works_without_a_slot(tmp_path: Path) -> None:
    card = Card(tmp_path)
    process = Process(card)
    for message in ({"op": "run", "demand_ns": 1}, {"op": "allocate", "mib": 1}, {"op": "free", "mib": 1}):
        assert process.ask(**message)["error"] == "not-attached"
    status = process.ask(op="status")
    assert (status["device_kind"], status["policy"], status["slice_ns"]) == ("emulated", "equal-share", 2_000_000)


def test_the_status_tells_busy_time_and_framebuffer_by_slot(tmp_path: Path) -> None:
    card = Card(tmp_path)
    process = card.process("a")
    process.ask(op="allocate", mib=7)
    process.run(3)
    card.run_to(10)
    process.replies()
    assert process.ask(op="status")["slots"] == {
        "a": {"pid": 42, "busy_ns": 3 * NS_PER_MS, "framebuffer_used_mib": 7},
        "b": {"pid": None, "busy_ns": 0, "framebuffer_used_mib": 0},
    }


def test_a_lost_device_fails_every_job_and_kills_the_attachments_for_good(tmp_path: Path) -> None:
    card = Card(tmp_path)
    process, outsider = card.process("a"), Process(card)
    process.run(50)
    process.run(50)
    card.run_to(1)
    assert outsider.ask(op="lose") == {"id": 1}
    assert [(reply["id"], reply["error"]) for reply in process.replies()] == [(2, "device-lost"), (3, "device-lost")]
    assert (card.device("a").lost, card.device("b").lost, card.device("host").lost) == (1, 1, 1)
    assert outsider.ask(op="attach", slot="b", pid=43)["error"] == "device-lost"
    assert outsider.ask(op="restore") == {"id": 3}
    assert process.ask(op="allocate", mib=1)["error"] == "device-lost"
    assert process.ask(op="attach", slot="a", pid=42) == {"id": 5, "framebuffer_mib": 8192}
    assert process.ask(op="allocate", mib=1) == {"id": 6, "used_mib": 1}
    assert (card.device("a").lost, card.device("host").lost) == (0, 0)


def test_each_guest_reads_its_own_part_of_the_physical_engine_and_the_host_all_of_it(tmp_path: Path) -> None:
    card = Card(tmp_path, policy="best-effort")
    first, second = card.process("a", pid=11), card.process("b", pid=12)
    first.ask(op="allocate", mib=100)
    second.ask(op="allocate", mib=28)
    first.run(5000)
    card.run_to(500)
    assert [card.device(name).gpu_percent for name in ("a", "b", "host")] == [100, 0, 100]
    second.run(5000)
    card.run_to(1000)
    guest, host = card.device("a"), card.device("host")
    assert [card.device(name).gpu_percent for name in ("a", "b", "host")] == [50, 50, 100]
    assert (guest.total_bytes >> 20, guest.used_bytes >> 20, guest.process_count) == (8192, 100, 1)
    assert (guest.processes[0].pid, guest.processes[0].sm_percent, guest.processes[0].used_bytes >> 20) == (11, 50, 100)
    assert (host.total_bytes >> 20, host.used_bytes >> 20, host.process_count) == (16384, 128, 0)
    assert (guest.name, guest.virtualization_mode, host.virtualization_mode) == (b"GRID V100-8Q", 2, 3)


def test_a_node_without_a_hypervisor_sees_the_card_and_every_process_on_it(tmp_path: Path) -> None:
    card = Card(tmp_path, policy="best-effort", host_nvml_state=None, bare_nvml_state=str(tmp_path / "bare.nvml"))
    first, second = card.process("a", pid=11), card.process("b", pid=12)
    first.ask(op="allocate", mib=100)
    second.ask(op="allocate", mib=28)
    first.run(5000)
    card.run_to(1000)
    bare = card.device("bare")
    shown = [(each.pid, each.sm_percent, each.used_bytes >> 20) for each in bare.processes[: bare.process_count]]
    assert shown == [(11, 100, 100), (12, 0, 28)]
    assert (bare.name, bare.uuid, bare.virtualization_mode) == (b"Tesla V100-PCIE-16GB", b"GPU-card", 0)
    assert (bare.gpu_percent, bare.total_bytes >> 20, bare.used_bytes >> 20) == (100, 16384, 128)


def test_reserved_idle_time_is_not_busy(tmp_path: Path) -> None:
    card = Card(tmp_path)
    process, _idle = card.process("a"), card.process("b")
    process.run(5000)
    card.run_to(1000)
    assert [card.device(name).gpu_percent for name in ("a", "b", "host")] == [50, 0, 50]


def test_utilization_falls_to_zero_once_the_work_is_done(tmp_path: Path) -> None:
    card = Card(tmp_path)
    process = card.process("a")
    process.run(200)
    card.run_to(200)
    assert card.device("a").gpu_percent == 100
    card.run_to(600)
    assert card.device("a").gpu_percent == 0


def test_the_readings_promise_to_be_renewed_and_are(tmp_path: Path) -> None:
    card = Card(tmp_path)
    for now_ms in (0, 100, 1000):
        card.run_to(now_ms)
        state = StateRecord.from_buffer_copy((tmp_path / "a.nvml").read_bytes())
        assert state.expires_ns >= card.now_ns - PERIOD_NS + 5 * SECOND_NS


def test_closing_leaves_lost_devices_behind(tmp_path: Path) -> None:
    card = Card(tmp_path)
    card.arbiter.close()
    assert [card.device(name).lost for name in ("a", "b", "host")] == [1, 1, 1]


def test_a_scripted_neighbour_takes_its_duty_and_no_more(tmp_path: Path) -> None:
    card = Card(tmp_path, policy="best-effort", background=[{"slot_id": "b", "duty_ratio": 0.4}])
    card.run_to(1000)
    status = Process(card).ask(op="status")
    assert status["slots"]["b"]["busy_ns"] == 400 * NS_PER_MS


def test_a_scripted_neighbour_slows_a_process_down_and_piles_nothing_up(tmp_path: Path) -> None:
    card = Card(tmp_path, policy="best-effort", background=[{"slot_id": "b", "duty_ratio": 0.8}])
    process = card.process("a")
    process.run(1000)
    card.run_to(2000)
    assert process.finishes_ms() == [pytest.approx(2000, abs=20)]
    contended_ns = Process(card).ask(op="status")["slots"]["b"]["busy_ns"]
    card.run_to(3000)
    alone_ns = Process(card).ask(op="status")["slots"]["b"]["busy_ns"] - contended_ns
    assert 800 * NS_PER_MS <= alone_ns <= 880 * NS_PER_MS  # its duty, and the two jobs that were waiting


def test_two_scripted_neighbours_share_the_engine(tmp_path: Path) -> None:
    loads = [{"slot_id": "a", "duty_ratio": 0.25}, {"slot_id": "b", "duty_ratio": 0.5}]
    card = Card(tmp_path, policy="best-effort", background=loads)
    card.now_ns = SECOND_NS
    card.arbiter.advance(SECOND_NS)  # in one step, as after a long delay of the host
    slots = Process(card).ask(op="status")["slots"]
    assert (slots["a"]["busy_ns"], slots["b"]["busy_ns"]) == (250 * NS_PER_MS, 500 * NS_PER_MS)


def test_the_clock_of_the_readings_is_the_machines(tmp_path: Path) -> None:
    """Readers compare `expires_ns` with CLOCK_MONOTONIC, so a config served with another clock would look lost."""
    now_ns = time.monotonic_ns()
    Arbiter(parse_config(config_text(tmp_path)), now_ns=now_ns)
    state = StateRecord.from_buffer_copy((tmp_path / "a.nvml").read_bytes())
    assert state.expires_ns == now_ns + 5 * SECOND_NS
