"""What the loop may rely on of the ingress: the fake that its tests use, and the real HAProxy as Ray starts it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoscaler.adapters.ingress import HaproxyIngress
from autoscaler.core.observation import IngressSample
from autoscaler.ports import Ingress, Unavailable
from tests.fakes.ingress import FakeIngress
from tests.unit.serving.build import free_port
from tests.unit.serving.test_haproxy_process import ScriptedReplica, ingress, listening


@dataclass
class Subject:
    """An ingress with the models `asleep-one`, which has no replica, and `up`, which has one."""

    port: Ingress
    ask: Callable[[str, str], int | None]
    """A request by method to a model; after how many seconds its client is told to come back."""
    leave: Callable[[], object]


@pytest.fixture(params=["fake", "HAProxy"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        fake = FakeIngress({"asleep-one": 0, "up": 0})

        def ask(method: str, model: str) -> int | None:
            found_none = method == "POST" and model == "asleep-one"
            fake.unanswered[model] += found_none
            return int(fake.starts_s.get(model, 5)) if found_none else None

        yield Subject(fake, ask, lambda: setattr(fake, "is_away", True))
        return
    replica, gateway = ScriptedReplica(b"up"), ScriptedReplica(b"gateway")
    with listening(replica, gateway) as (up, beside):
        applications = {"asleep-one": (), "up": (up,), "gateway": (beside,)}
        with ingress(tmp_path, applications, free_port()) as running:

            def send(method: str, model: str) -> int | None:
                status, headers, _ = running.ask(f"/v2/models/{model}/infer", method=method)
                found_none = status == 503 and method == "POST"
                return int(headers["retry-after"]) if found_none else None

            def leave() -> None:
                running.process.kill()
                running.process.wait()

            yield Subject(HaproxyIngress(f"http://127.0.0.1:{running.ray.cfg.metrics_port}"), send, leave)


def counts(seen: tuple[IngressSample, ...]) -> dict[str, tuple[float, int]]:
    return {sample.model: (sample.at_s, sample.unanswered) for sample in seen}


def test_it_counts_the_requests_that_found_no_replica(subject: Subject) -> None:
    assert counts(subject.port.read(["asleep-one", "up"], 3.0)) == {"asleep-one": (3.0, 0), "up": (3.0, 0)}
    for model in ("asleep-one", "asleep-one", "up"):
        subject.ask("POST", model)
    assert counts(subject.port.read(["asleep-one", "up"], 5.0)) == {"asleep-one": (5.0, 2), "up": (5.0, 0)}


def test_who_only_looks_whether_a_model_is_ready_has_asked_it_nothing(subject: Subject) -> None:
    subject.ask("GET", "asleep-one")
    assert counts(subject.port.read(["asleep-one"], 5.0)) == {"asleep-one": (5.0, 0)}


def test_a_model_that_it_does_not_know_is_left_out(subject: Subject) -> None:
    assert counts(subject.port.read(["nobody", "up"], 5.0)) == {"up": (5.0, 0)}


def test_one_process_has_one_name(subject: Subject) -> None:
    processes = {sample.process for at_s in (1.0, 2.0) for sample in subject.port.read(["asleep-one", "up"], at_s)}
    assert len(processes) == 1


def test_clients_are_told_when_a_replica_is_expected(subject: Subject) -> None:
    assert subject.ask("POST", "asleep-one") == 5
    subject.port.announce({"asleep-one": 17.0, "nobody": 3.0})
    assert subject.ask("POST", "asleep-one") == 17
    subject.port.announce({"up": 9.0})
    assert subject.ask("POST", "asleep-one") == 17


def test_one_that_has_gone_is_unavailable(subject: Subject) -> None:
    subject.leave()
    with pytest.raises(Unavailable, match=r"^ingress /metrics: "):
        subject.port.read(["up"], 1.0)
    with pytest.raises(Unavailable, match=r"^ingress "):
        subject.port.announce({"up": 1.0})
