"""The emulated host: which machine may do what, how long it takes, and what a card has room for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.embedded.fleet import Card, Fleet
from autoscaler.embedded.machines import PACE_S, Action, Declined, Fault, FaultKind, Host, MachineView, State, Unknown

QUARTERS = Card(profile="v100-4q-4GB", nodes=("n1", "n2", "n3", "n4"), gpu="gpu-a")
WHOLE = Card(profile="v100-16q-16GB", nodes=("n5",), gpu="gpu-a", powered=False)
HALF = Card(profile="v100-8q-8GB", nodes=("n8",), gpu="gpu-a", powered=False)
OTHERS = Card(profile="v100-4q-4GB", nodes=("n9",), gpu="gpu-a", powered=False)
BESIDE = Card(profile="v100-8q-8GB", nodes=("n6", "n7"))
FLEET = Fleet(cards=(QUARTERS, WHOLE, BESIDE, HALF, OTHERS))


def states(host: Host, now_s: float, *names: str) -> list[State]:
    seen = host.look(now_s)
    return [seen[name].state for name in names]


def put_to_sleep(host: Host, *names: str, now_s: float = 0.0) -> None:
    for name in names:
        host.ask(name, Action.SUSPEND, now_s)
    assert states(host, now_s + PACE_S[Action.SUSPEND], *names) == [State.SUSPENDED] * len(names)


def test_a_machine_is_what_its_entry_says() -> None:
    seen = Host(FLEET).look(0.0)
    assert [seen["n1"], seen["n5"], seen["n6"]] == [
        MachineView(state=State.RUNNING, gpu="gpu-a", profile="v100-4q-4GB", node="n1"),
        MachineView(state=State.OFF, gpu="gpu-a", profile="v100-16q-16GB", node="n5"),
        MachineView(state=State.RUNNING, gpu="card 2", profile="v100-8q-8GB", node="n6"),
    ]


@pytest.mark.parametrize(
    ("way", "name", "before", "after"),
    [
        ((), "n1", Action.SUSPEND, State.SUSPENDED),
        ((), "n1", Action.POWER_OFF, State.OFF),
        ((Action.SUSPEND,), "n1", Action.RESUME, State.RUNNING),
        ((Action.SUSPEND,), "n1", Action.POWER_OFF, State.OFF),
        ((Action.POWER_OFF,), "n1", Action.POWER_ON, State.RUNNING),
    ],
)
def test_an_action_takes_its_time(way: tuple[Action, ...], name: str, before: Action, after: State) -> None:
    host, now_s = Host(FLEET), 0.0
    for action in way:
        host.ask(name, action, now_s)
        now_s += PACE_S[action]
    host.ask(name, before, now_s)
    just_before_s = now_s + PACE_S[before] - 0.01
    assert states(host, now_s, name) == states(host, just_before_s, name) == [State.CHANGING]
    assert states(host, now_s + PACE_S[before], name) == [after]


def test_asking_again_for_what_is_so_or_on_its_way_does_nothing() -> None:
    host = Host(FLEET)
    host.ask("n1", Action.POWER_ON, 0.0)
    host.ask("n1", Action.RESUME, 0.0)
    assert states(host, 0.0, "n1") == [State.RUNNING]
    host.ask("n1", Action.SUSPEND, 0.0)
    host.ask("n1", Action.SUSPEND, 1.9)
    assert states(host, 2.0, "n1") == [State.SUSPENDED]


@pytest.mark.parametrize(
    ("way", "action", "why", "permanent"),
    [
        ((Action.POWER_OFF,), Action.SUSPEND, "n1 is off; there is no memory to keep", True),
        ((Action.POWER_OFF,), Action.RESUME, "n1 is off; power it on", True),
        ((Action.SUSPEND,), Action.POWER_ON, "n1 is suspended; resume it, or power it off first", True),
    ],
)
def test_an_action_that_does_not_suit_is_refused(
    way: tuple[Action, ...], action: Action, why: str, permanent: bool
) -> None:
    host = Host(FLEET)
    for before in way:
        host.ask("n1", before, 0.0)
    with pytest.raises(Declined, match=why) as declined:
        host.ask("n1", action, 10.0)
    assert declined.value.permanent is permanent


def test_a_machine_on_its_way_is_let_arrive_first() -> None:
    host = Host(FLEET)
    host.ask("n1", Action.SUSPEND, 0.0)
    with pytest.raises(Declined, match="on its way to suspended") as declined:
        host.ask("n1", Action.RESUME, 1.0)
    assert not declined.value.permanent
    host.ask("n1", Action.RESUME, 2.0)


def test_a_card_that_another_is_about_to_leave_may_have_room_later() -> None:
    host, later = Host(FLEET), []
    for node in ("n1", "n2", "n3", "n4"):
        host.ask(node, Action.SUSPEND, 0.0)
    for now_s in (1.0, 2.0):
        try:
            host.ask("n5", Action.POWER_ON, now_s)
        except Declined as declined:
            later.append(declined.permanent)
    assert later == [False]


def test_a_machine_that_is_not_there_is_named() -> None:
    with pytest.raises(Unknown, match="no machine 'n0'; there are n1, n2"):
        Host(FLEET).ask("n0", Action.SUSPEND, 0.0)


@pytest.mark.parametrize(
    ("asleep", "name", "why"),
    [
        ((), "n5", "n5 needs 16384 MiB; n1, n2, n3, n4 run on gpu-a and leave 0 of 16384 MiB"),
        (("n1", "n2", "n3"), "n5", "n5 needs 16384 MiB; n4 run on gpu-a and leave 12288 of 16384 MiB"),
        (("n1", "n2"), "n8", "n8 is v100-8q-8GB; n3, n4 run on gpu-a, of another size"),
        (("n1",), "n9", "n9 is of another cut than n2, n3, n4 run on gpu-a; the emulated card plays one cut at a time"),
    ],
)
def test_a_guest_that_the_card_cannot_take_is_refused(asleep: tuple[str, ...], name: str, why: str) -> None:
    host = Host(FLEET)
    put_to_sleep(host, *asleep)
    with pytest.raises(Declined) as declined:
        host.ask(name, Action.POWER_ON, 10.0)
    assert str(declined.value).startswith(why)
    assert declined.value.permanent


def test_a_suspended_guest_holds_none_of_the_card_and_one_that_leaves_all_of_its_part() -> None:
    host = Host(FLEET)
    put_to_sleep(host, "n1", "n2", "n3")
    host.ask("n4", Action.SUSPEND, 10.0)
    with pytest.raises(Declined, match="n4 run on gpu-a"):
        host.ask("n5", Action.POWER_ON, 11.0)
    host.ask("n5", Action.POWER_ON, 12.0)
    assert states(host, 15.0, "n5") == [State.RUNNING]
    with pytest.raises(Declined, match="n1 needs 4096 MiB; n5 run on gpu-a and leave 0 of 16384 MiB"):
        host.ask("n1", Action.RESUME, 15.0)


def test_one_that_comes_holds_its_part_already() -> None:
    host = Host(FLEET)
    put_to_sleep(host, "n1", "n2", "n3", "n4")
    host.ask("n5", Action.POWER_ON, 10.0)
    with pytest.raises(Declined, match="n5 run on gpu-a"):
        host.ask("n1", Action.RESUME, 10.0)


def test_a_boot_is_counted_and_a_resumption_is_none() -> None:
    host = Host(FLEET)
    boots = [host.power(0.0)["n1"].boots]
    for at_s, action in enumerate([Action.SUSPEND, Action.RESUME, Action.POWER_OFF, Action.POWER_ON]):
        host.ask("n1", action, 10.0 * at_s)
        boots.append(host.power(10.0 * at_s + 9).get("n1", host.power(0.0)["n1"]).boots)
    assert boots == [1, 1, 1, 1, 2]


def test_a_guest_feels_a_change_when_it_is_over() -> None:
    host = Host(FLEET)
    host.ask("n1", Action.SUSPEND, 0.0)
    assert [host.power(at_s)["n1"].state for at_s in (0.0, 1.9, 2.0)] == [
        State.RUNNING,
        State.RUNNING,
        State.SUSPENDED,
    ]


def test_an_action_fails_as_often_as_asked() -> None:
    host = Host(FLEET)
    host.faults.append(Fault(kind=FaultKind.FAILS, machine="n1", action=Action.SUSPEND, times=2))
    for _ in range(2):
        with pytest.raises(Declined, match="suspend of n1 failed") as declined:
            host.ask("n1", Action.SUSPEND, 0.0)
        assert not declined.value.permanent
    host.ask("n2", Action.SUSPEND, 0.0)
    host.ask("n1", Action.SUSPEND, 0.0)
    assert states(host, 2.0, "n1", "n2") == [State.SUSPENDED, State.SUSPENDED]


def test_an_action_that_hangs_goes_on_when_the_faults_are_cleared() -> None:
    host = Host(FLEET)
    host.faults.append(Fault(kind=FaultKind.HANGS, action=Action.SUSPEND))
    host.ask("n1", Action.SUSPEND, 0.0)
    assert states(host, 1e9, "n1") == [State.CHANGING]
    host.clear_faults(1e9)
    assert states(host, 1e9, "n1") == [State.SUSPENDED]


def test_a_host_can_say_done_and_do_nothing() -> None:
    host = Host(FLEET)
    host.faults.append(Fault(kind=FaultKind.LIES, machine="n1"))
    host.ask("n1", Action.SUSPEND, 0.0)
    assert states(host, 100.0, "n1") == [State.RUNNING]
    host.ask("n1", Action.SUSPEND, 100.0)
    assert states(host, 102.0, "n1") == [State.SUSPENDED]


def test_a_machine_comes_up_wrong_once_and_right_the_next_time() -> None:
    host = Host(FLEET)
    host.faults += [
        Fault(kind=FaultKind.NEVER_READY, machine="n1"),
        Fault(kind=FaultKind.WRONG_PROFILE, machine="n1", profile="v100-8q-8GB"),
    ]
    felt = []
    for at_s in (0.0, 10.0):
        host.ask("n1", Action.POWER_OFF, at_s)
        host.ask("n1", Action.POWER_ON, at_s + 1)
        power = host.power(at_s + 5)["n1"]
        felt.append((power.state, power.is_up, power.label))
    assert felt == [(State.RUNNING, False, "v100-8q-8GB"), (State.RUNNING, True, "v100-4q-4GB")]


Asked = st.tuples(st.sampled_from([f"n{index}" for index in range(1, 10)]), st.sampled_from(list(Action)))


@given(asked=st.lists(st.tuples(Asked, st.floats(0, 4)), max_size=60))
def test_whatever_is_asked_a_card_is_never_overfull_nor_of_mixed_sizes(
    asked: list[tuple[tuple[str, Action], float]],
) -> None:
    host, now_s = Host(FLEET), 0.0
    size_mib = {node: card.slot_framebuffer_mib for card in FLEET.cards for node in card.nodes}
    for (name, action), later_s in asked:
        now_s += later_s
        try:
            host.ask(name, action, now_s)
        except Declined:
            continue
        on_card = [node for node, power in host.power(now_s).items() if power.state is State.RUNNING]
        for gpu in ("gpu-a", "card 2"):
            sizes = [size_mib[node] for node in on_card if host.look(now_s)[node].gpu == gpu]
            assert sum(sizes) <= 16384
            assert len(set(sizes)) <= 1
