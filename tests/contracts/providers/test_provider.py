"""What the switcher relies on, whoever runs the machines."""

from collections.abc import Callable

import pytest

from tests.contracts.providers.rigs import CAPABILITIES, Rig
from vgpu.core.profile import parse_profile
from vgpu.core.switching.seen import Capabilities, MachineState
from vgpu.switcher.providers.port import Provider, ProviderError

PROFILE = parse_profile("v100-8q-8GB")
Ask = Callable[[Provider, str], object]
ASK: dict[str, Ask] = {
    "suspend": lambda provider, machine: provider.suspend(machine),
    "resume": lambda provider, machine: provider.resume(machine),
    "power_off": lambda provider, machine: provider.power_off(machine),
    "power_on": lambda provider, machine: provider.power_on(machine),
    "snapshot": lambda provider, machine: provider.snapshot(machine, "before"),
    "live_migrate": lambda provider, machine: provider.migrate(machine, "elsewhere"),
    "recuts_in_place": lambda provider, machine: provider.set_config(machine, "elsewise"),
}
WAYS = [("suspend", MachineState.SUSPENDED, "resume"), ("power_off", MachineState.OFF, "power_on")]
OPERATIONS: dict[str, Ask] = {
    **ASK,
    "capabilities": lambda provider, machine: provider.capabilities(machine),
    "set_profile": lambda provider, machine: provider.set_profile(machine, PROFILE),
}


def refusal(ask: Ask, provider: Provider, machine: str) -> ProviderError:
    with pytest.raises(ProviderError) as refused:
        ask(provider, machine)
    return refused.value


def test_every_capability_is_there_or_its_absence_is_explained(rig: Rig) -> None:
    said = rig.provider.capabilities(rig.machine)
    assert {name for name in CAPABILITIES if getattr(said, name)} == rig.can
    assert set(said.why_not) == set(CAPABILITIES) - rig.can
    assert all(said.why_not.values())


def test_the_rig_shows_each_capability_that_is_not_there(rig: Rig) -> None:
    assert set(CAPABILITIES) - rig.can <= set(rig.cannot)


def test_what_cannot_be_done_is_refused_for_good_with_the_reason(rig: Rig) -> None:
    for capability, machine in rig.cannot.items():
        error = refusal(ASK[capability], rig.provider, machine)
        said = rig.provider.capabilities(machine)
        assert (error.permanent, error.why) == (True, said.why_not[capability])


def test_a_machine_that_runs_is_seen_running(rig: Rig) -> None:
    assert rig.seen(MachineState.RUNNING).fault == ""


def test_an_unknown_machine_is_left_out_of_what_is_seen(rig: Rig) -> None:
    assert list(rig.provider.look([rig.machine, "nobody"])) == [rig.machine]
    assert dict(rig.provider.look([])) == {}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_unknown_machine_is_an_error_that_names_it(rig: Rig, operation: str) -> None:
    error = refusal(OPERATIONS[operation], rig.provider, "nobody")
    assert error.permanent
    assert "nobody" in error.what


@pytest.mark.parametrize(("down", "state", "up"), WAYS)
def test_a_machine_goes_down_and_up_and_may_be_asked_twice(rig: Rig, down: str, state: MachineState, up: str) -> None:
    if not {down, up} <= rig.can:
        assert refusal(ASK[down], rig.provider, rig.machine).permanent
        return
    for ask, goal in ((down, state), (up, MachineState.RUNNING)):
        ASK[ask](rig.provider, rig.machine)
        ASK[ask](rig.provider, rig.machine)
        rig.seen(goal)
        ASK[ask](rig.provider, rig.machine)
        rig.seen(goal)


def test_a_suspended_machine_can_be_powered_off(rig: Rig) -> None:
    if not {"suspend", "power_off"} <= rig.can:
        assert refusal(ASK["power_off"], rig.provider, rig.machine).permanent
        return
    rig.provider.suspend(rig.machine)
    rig.seen(MachineState.SUSPENDED)
    rig.provider.power_off(rig.machine)
    rig.seen(MachineState.OFF)


@pytest.mark.parametrize(
    ("way", "state", "refused"),
    [
        ("suspend", MachineState.SUSPENDED, "power_on"),
        ("power_off", MachineState.OFF, "resume"),
        ("power_off", MachineState.OFF, "suspend"),
    ],
)
def test_what_a_state_does_not_allow_is_refused_for_good(rig: Rig, way: str, state: MachineState, refused: str) -> None:
    if not {way, refused} <= rig.can:
        assert refusal(ASK[refused if refused not in rig.can else way], rig.provider, rig.machine).permanent
        return
    ASK[way](rig.provider, rig.machine)
    rig.seen(state)
    error = refusal(ASK[refused], rig.provider, rig.machine)
    assert error.permanent
    assert str(state) in error.why
    rig.seen(state)


def test_a_profile_is_set_only_while_the_machine_is_off(rig: Rig) -> None:
    if not rig.profiles:
        assert refusal(OPERATIONS["set_profile"], rig.provider, rig.machine).permanent
        return
    for profile in (*rig.profiles, rig.profiles[0]):
        error = refusal(lambda provider, machine: provider.set_profile(machine, PROFILE), rig.provider, rig.machine)
        assert error.permanent
        rig.provider.power_off(rig.machine)
        rig.seen(MachineState.OFF)
        rig.provider.set_profile(rig.machine, profile)
        rig.provider.set_profile(rig.machine, profile)
        assert rig.seen(MachineState.OFF).profile == profile.label
        rig.provider.power_on(rig.machine)
        assert rig.seen(MachineState.RUNNING).profile == profile.label
        rig.provider.set_profile(rig.machine, profile)


def test_a_card_is_recut_in_place_and_the_same_may_be_asked_twice(rig: Rig) -> None:
    if not rig.configs:
        assert refusal(ASK["recuts_in_place"], rig.provider, rig.machine).permanent
        return
    for config in (*rig.configs, rig.configs[0]):
        rig.provider.set_config(rig.machine, config)
        rig.provider.set_config(rig.machine, config)
        assert rig.seen(MachineState.RUNNING).config == config


def test_a_snapshot_of_one_name_may_be_asked_twice(rig: Rig) -> None:
    if "snapshot" not in rig.can:
        assert refusal(ASK["snapshot"], rig.provider, rig.machine).permanent
        return
    rig.provider.snapshot(rig.machine, "before")
    rig.seen(MachineState.RUNNING)
    rig.provider.snapshot(rig.machine, "before")
    rig.seen(MachineState.RUNNING)


def test_a_machine_moves_and_the_same_may_be_asked_twice(rig: Rig) -> None:
    if "live_migrate" not in rig.can:
        assert refusal(ASK["live_migrate"], rig.provider, rig.machine).permanent
        return
    rig.provider.migrate(rig.machine, rig.host)
    rig.seen(MachineState.RUNNING)
    rig.provider.migrate(rig.machine, rig.host)
    rig.seen(MachineState.RUNNING)


def test_closing_twice_does_nothing(rig: Rig) -> None:
    rig.provider.look([rig.machine])
    rig.provider.close()
    rig.provider.close()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_is_away_is_worth_asking_again(remote_rig: Rig, operation: str) -> None:
    remote_rig.provider.look([remote_rig.machine])
    remote_rig.away()
    for ask in (OPERATIONS[operation], lambda provider, machine: provider.look([machine])):
        error = refusal(ask, remote_rig.provider, remote_rig.machine)
        assert (error.permanent, bool(error.why)) == (False, True)
        assert remote_rig.secret not in (str(error) or "-") or not remote_rig.secret
    remote_rig.back()
    assert list(remote_rig.provider.look([remote_rig.machine])) == [remote_rig.machine]


def test_nothing_shows_the_secret(remote_rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    provider, secret = remote_rig.provider, remote_rig.secret or "no secret at all"
    errors = [refusal(ask, provider, "nobody") for ask in OPERATIONS.values()]
    remote_rig.away()
    errors += [refusal(ask, provider, remote_rig.machine) for ask in OPERATIONS.values()]
    provider.close()
    shown = [repr(provider), repr(vars(provider)), caplog.text]
    shown += [f"{error!r} {error} {error.__cause__!r} {error.__context__!r}" for error in errors]
    assert [text for text in shown if secret in text] == []


def test_a_capability_left_unsaid_is_none() -> None:
    """A provider that forgets to answer for something cannot do it."""
    assert not any(getattr(Capabilities(), name) for name in CAPABILITIES)
