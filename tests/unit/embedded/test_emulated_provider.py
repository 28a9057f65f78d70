"""The switcher's provider over the hypervisor stand-in: what HTTP adds to what every provider promises."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from autoscaler.embedded.hypervisor import Hypervisor, Server
from tests.unit.embedded.test_hypervisor import TOKEN, Clock
from tests.unit.embedded.test_machines import FLEET
from vgpu.core.profile import parse_profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState
from vgpu.switcher.providers import emulated
from vgpu.switcher.providers.emulated import EmulatedProvider
from vgpu.switcher.providers.port import Provider, ProviderError
from vgpu.switcher.providers.settings import Emulated


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[Server]:
    running = Server(Hypervisor(FLEET, clock=clock), port=0, token=TOKEN)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def provider(server: Server, token_file: Path) -> Iterator[Provider]:
    opened = emulated.open(Emulated(url=server.url, token_file=token_file))
    yield opened
    opened.close()
    opened.close()


def refusal(provider: Provider, action: str, *given: object) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        getattr(provider, action)(*given)
    return caught.value


def test_machines_are_seen_as_the_host_says(provider: Provider, clock: Clock) -> None:
    provider.suspend("n1")
    seen = provider.look(["n1", "n5", "n6"])
    assert seen == {
        "n1": MachineSeen(state=MachineState.CHANGING, profile="v100-4q-4GB"),
        "n5": MachineSeen(state=MachineState.OFF, profile="v100-16q-16GB"),
        "n6": MachineSeen(state=MachineState.RUNNING, profile="v100-8q-8GB"),
    }
    clock.now_s = 2.0
    assert provider.look(["n1"])["n1"].state is MachineState.SUSPENDED
    provider.resume("n1")
    provider.power_off("n6")
    clock.now_s = 4.0
    assert [seen.state for seen in provider.look(["n1", "n6"]).values()] == [MachineState.RUNNING, MachineState.OFF]
    provider.power_on("n6")
    clock.now_s = 7.0
    assert provider.look(["n6"])["n6"].state is MachineState.RUNNING


def test_it_says_what_it_can_do_and_why_not_the_rest(provider: Provider) -> None:
    assert provider.capabilities("n1") == Capabilities(
        suspend=True,
        resume=True,
        power_off=True,
        power_on=True,
        why_not={
            "snapshot": "the emulated host keeps no snapshots",
            "live_migrate": "there is one emulated host",
            "recuts_in_place": "the emulated host runs machines; name a guest of the other profile instead",
        },
    )


@pytest.mark.parametrize(
    ("action", "given", "why"),
    [
        ("power_on", ("n5",), "n5 needs 16384 MiB; n1, n2, n3, n4 run on gpu-a and leave 0 of 16384 MiB"),
        ("suspend", ("n0",), "there is no machine 'n0'; there are n1, n2, n3, n4, n5, n6, n7, n8, n9"),
        ("capabilities", ("n0",), "there is no machine n0"),
        ("snapshot", ("n1", "before"), "the emulated host keeps no snapshots"),
        ("migrate", ("n1", "host-2"), "there is one emulated host"),
        ("set_config", ("n1", "all-4q"), emulated.WHY_NOT["recuts_in_place"]),
        ("set_profile", ("n1", parse_profile("v100-8q-8GB")), "it is running; power it off first"),
        ("set_profile", ("n5", parse_profile("v100-4q-4GB")), emulated.WHY_NOT["set_profile"]),
    ],
)
def test_what_cannot_be_is_permanent(provider: Provider, action: str, given: tuple[object, ...], why: str) -> None:
    refused = refusal(provider, action, *given)
    assert (refused.why, refused.permanent) == (why, True)


def test_a_machine_that_is_off_has_its_profile_already(provider: Provider) -> None:
    provider.set_profile("n5", parse_profile("v100-16q-16GB"))


def test_what_is_on_its_way_may_be_asked_again(provider: Provider) -> None:
    provider.suspend("n1")
    provider.suspend("n1")
    assert not refusal(provider, "resume", "n1").permanent


def test_a_host_that_is_away_is_no_refusal_and_no_secret_is_told(server: Server, token_file: Path) -> None:
    url = server.url
    server.stop()
    provider = EmulatedProvider(url, token_file)
    gone = refusal(provider, "look", ["n1"])
    provider.close()
    server.__init__(Hypervisor(FLEET), port=int(url.rpartition(":")[2]), token=TOKEN)  # type: ignore[misc]  # again
    server.start()
    assert not gone.permanent
    assert TOKEN not in f"{gone} {gone.__cause__} {provider!r}"


def test_a_wrong_token_and_none_at_all_are_permanent(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("wrong")
    provider = EmulatedProvider(server.url, other)
    wrong = refusal(provider, "look", ["n1"])
    other.unlink()
    missing = refusal(provider, "look", ["n1"])
    provider.close()
    assert (wrong.why, wrong.permanent) == ("no valid bearer token", True)
    assert (missing.why, missing.permanent) == (f"{other}: No such file or directory", True)


@pytest.mark.parametrize(
    ("answer", "why", "permanent"),
    [
        (httpx.Response(500, json={}), "status 500", False),
        (httpx.Response(502, text="bad gateway"), "the hypervisor stand-in answered no JSON object", False),
        (httpx.Response(200, json=[1]), "the hypervisor stand-in answered no JSON object", False),
        (httpx.Response(400, json={}), "status 400", True),
    ],
)
def test_an_answer_that_is_none_is_said(token_file: Path, answer: httpx.Response, why: str, permanent: bool) -> None:
    provider = EmulatedProvider("http://here", token_file, transport=httpx.MockTransport(lambda _: answer))
    refused = refusal(provider, "look", ["n1"])
    provider.close()
    assert (refused.why, refused.permanent) == (why, permanent)


def test_a_state_that_nobody_knows_is_unknown(token_file: Path) -> None:
    view = {"n1": {"state": "migrating", "profile": "v100-4q-4GB"}}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=view))
    provider = EmulatedProvider("http://here", token_file, transport=transport)
    assert provider.look(["n1"]) == {"n1": MachineSeen(state=MachineState.UNKNOWN, profile="v100-4q-4GB")}
    provider.close()


def test_what_is_no_url_is_refused(token_file: Path) -> None:
    with pytest.raises(ProviderError, match="it is no URL") as refused:
        emulated.open(Emulated(url="http://[::1", token_file=token_file))
    assert refused.value.permanent


def test_a_file_without_a_token_is_named(server: Server, token_file: Path) -> None:
    for content in (b"\xff\xfe", "schlüssel".encode()):
        token_file.write_bytes(content)
        with pytest.raises(ProviderError, match=f"{token_file}: holds no token") as refused:
            emulated.open(Emulated(url=server.url, token_file=token_file)).look(["vm-1"])
        assert refused.value.permanent


@pytest.mark.parametrize("machine", ["a?b#c", "a\x01b"])
def test_a_machine_of_an_odd_name_is_an_unknown_one(provider: Provider, machine: str) -> None:
    with pytest.raises(ProviderError) as refused:
        provider.suspend(machine)
    assert refused.value.permanent
