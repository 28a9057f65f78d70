"""The board: which host and GPU a policy takes, what changes do, and what is explained."""

import pytest

from tests.unit.core.fractions.build import fraction, host, no_gpu, whole
from vgpu.core.fractions import board as boards
from vgpu.core.fractions.board import Board, Choice
from vgpu.core.fractions.demand import Demand
from vgpu.core.fractions.host import Host
from vgpu.core.fractions.policies import DEFAULT_POLICY, POLICIES
from vgpu.core.fractions.shape import Shape


def board(policy: str, *hosts: Host, mix: dict[Shape, int] | None = None) -> Board:
    filled = Board(POLICIES[policy], demand=None if mix is None else Demand.known(mix))
    for each in hosts:
        filled.put(each)
    return filled


def taken(choice: Choice | None) -> tuple[str, tuple[int, ...]] | None:
    return None if choice is None else (choice.host, choice.gpus)


HALF_USED, FULLER, IDLE = host("half", 500, 1000), host("fuller", 400, 400), host("idle", 1000, 1000)


@pytest.mark.parametrize(
    ("policy", "asked", "expected"),
    [
        pytest.param("spread", fraction(300), ("idle", (0,)), id="spread takes the emptiest host"),
        pytest.param("binpack", fraction(300), ("fuller", (0,)), id="binpack the fullest"),
        pytest.param("binpack", fraction(450), ("half", (0,)), id="binpack the fullest GPU with room"),
        pytest.param("best-fit", fraction(300), ("fuller", (0,)), id="best fit what leaves least"),
        pytest.param("dot-product", fraction(300), ("fuller", (0,)), id="dot product the least aligned"),
        pytest.param("packing", fraction(300), ("fuller", (0,)), id="packing a GPU in use"),
        pytest.param("packing", whole(), ("half", (1,)), id="packing an idle GPU of a host in use"),
        pytest.param("fgd", whole(2), ("idle", (0, 1)), id="whole GPUs in index order"),
        pytest.param("fgd", fraction(400), ("fuller", (0,)), id="fgd fills exactly"),
    ],
)
def test_what_each_policy_takes(policy: str, asked: Shape, expected: tuple[str, tuple[int, ...]]) -> None:
    mix = {whole(): 5, fraction(400): 5}
    assert taken(board(policy, HALF_USED, FULLER, IDLE, mix=mix).choose(asked)) == expected


def test_clustering_keeps_kinds_apart() -> None:
    shares = host("shares", 600, 1000).without(fraction(100), (0,))
    wholes = host("wholes", 1000, 1000, 1000).without(whole(), (0,))
    filled = board("clustering", shares, wholes, IDLE)
    assert taken(filled.choose(fraction(300))) == ("shares", (0,))
    assert taken(filled.choose(whole())) == ("wholes", (1,))
    assert taken(filled.choose(whole(2))) == ("idle", (0, 1))


def test_least_stranding_spares_the_cpu_that_gpus_will_need() -> None:
    """Both have room; on the poor host 8 cores more would leave a GPU without CPU, on the rich one nothing is lost."""
    poor, rich = host("poor", 1000, 1000, cpu_milli=16_000), host("rich", 1000, 1000, cpu_milli=64_000)
    mix = {whole(cpu_milli=8000): 1}
    chosen = board("least-stranding", poor, rich, mix=mix).choose(no_gpu(8000))
    assert chosen is not None
    assert chosen == Choice(host="rich", gpus=(), score=0.0, terms=(("stranding_units", 0.0),))
    scored = board("least-stranding", poor, rich, mix=mix).score(no_gpu(8000))
    assert scored["poor"] == Choice(host="poor", gpus=(), score=-2.0, terms=(("stranding_units", -1000.0),))


def test_least_stranding_prefers_a_pod_that_uses_gpu_which_lacks_cpu() -> None:
    starved, rich = host("starved", 1000, cpu_milli=1000), host("rich", 1000, cpu_milli=64_000)
    mix = {whole(cpu_milli=8000): 1}
    chosen = board("least-stranding", starved, rich, mix=mix).choose(whole(cpu_milli=1000))
    assert chosen is not None
    assert chosen.host == "starved"


def test_where_nothing_fits_there_is_no_choice() -> None:
    for name, policy in POLICIES.items():
        if not policy.draws:
            assert board(name).choose(whole()) is None
            assert board(name, HALF_USED).choose(whole(2)) is None
            assert board(name, HALF_USED).score(whole(2)) == {}


def test_only_the_hosts_asked_about_are_looked_at() -> None:
    filled = board("binpack", HALF_USED, FULLER, IDLE)
    assert taken(filled.choose(fraction(300), among=["idle", "half", "unheard-of"])) == ("half", (0,))
    assert list(filled.score(fraction(300), among=["idle", "half"])) == ["half", "idle"]
    assert filled.choose(fraction(300), among=[]) is None
    assert filled.choose(fraction(300), among=["unheard-of"]) is None


def test_choosing_reserves_nothing_and_a_put_is_seen_by_the_next_choice() -> None:
    filled = board("best-fit", HALF_USED, IDLE)
    assert taken(filled.choose(fraction(500))) == taken(filled.choose(fraction(500))) == ("half", (0,))
    filled.put(HALF_USED.without(fraction(500), (0,)))
    assert taken(filled.choose(fraction(500))) == ("half", (1,))
    filled.drop("half")
    filled.drop("half")
    assert taken(filled.choose(fraction(500))) == ("idle", (0,))
    filled.put(host("another", 500))
    assert taken(filled.choose(fraction(500))) == ("another", (0,))


def test_equals_go_to_the_first_name_or_are_drawn() -> None:
    hosts = [host(name, 1000) for name in "dbca"]
    assert taken(board("spread", *hosts).choose(whole())) == ("a", (0,))
    drawn = Board(POLICIES["spread"], draw=lambda count: count - 1)
    for each in hosts:
        drawn.put(each)
    assert taken(drawn.choose(whole())) == ("d", (0,))


def test_the_default_orders_hosts_itself_whatever_the_rule_for_ties() -> None:
    hosts = [host(name, 1000) for name in "abcd"]
    fixed, drawn = Board(POLICIES[DEFAULT_POLICY]), Board(POLICIES[DEFAULT_POLICY], draw=lambda count: count - 1)
    order = []
    for _ in hosts:
        for each in hosts:
            fixed.put(each)
            drawn.put(each)
        for name in order:
            fixed.drop(name)
            drawn.drop(name)
        chosen = fixed.choose(whole())
        assert chosen is not None
        assert chosen == drawn.choose(whole())
        order.append(chosen.host)
    assert order == sorted("abcd", key=POLICIES[DEFAULT_POLICY].order)
    assert order != list("abcd")


def test_random_draws_the_host_and_the_gpu() -> None:
    with pytest.raises(ValueError, match="policy random draws hosts at random: give draw"):
        Board(POLICIES["random"])
    drawn = Board(POLICIES["random"], draw=lambda count: count - 1)
    for each in (HALF_USED, FULLER, IDLE):
        drawn.put(each)
    assert taken(drawn.choose(fraction(300))) == ("idle", (1,))
    assert taken(drawn.choose(fraction(300), among=["fuller"])) == ("fuller", (1,))


def test_a_host_with_more_gpus_than_any_before_is_no_trouble() -> None:
    filled = board("fgd", *(host(f"n{index}", 1000) for index in range(70)), mix={whole(16): 1})
    assert filled.choose(whole(16)) is None
    filled.put(host("wide", *(1000,) * 16))
    assert taken(filled.choose(whole(16))) == ("wide", tuple(range(16)))


def test_more_shapes_and_changes_than_are_remembered() -> None:
    filled = board("best-fit", host("a", 1000), host("b", 1000))
    for cpu_milli in range(boards.MOST_SHEETS + 10):
        assert taken(filled.choose(fraction(300, cpu_milli=cpu_milli))) == ("a", (0,))
    for _ in range(2000):
        filled.put(host("a", 1000))
    filled.put(host("b", 300))
    assert taken(filled.choose(fraction(300))) == ("b", (0,))


def test_demand_changes_scores_only_when_the_mix_is_looked_at_again() -> None:
    """One rescoring of every host at the first pod, then at the sixteenth."""
    poor, rich = host("poor", 1000, 1000, cpu_milli=16_000), host("rich", 1000, 1000, cpu_milli=64_000)
    filled = board("least-stranding", poor, rich)
    seen = []
    for _ in range(16):
        filled.arrived(whole(cpu_milli=8000))
        seen.append(filled.score(no_gpu(8000))["poor"].terms)
    assert seen == [(("stranding_units", -1000.0),)] * 16
    for _ in range(7):
        filled.arrived(whole(cpu_milli=0))
    assert filled.score(no_gpu(8000))["poor"].terms == (("stranding_units", -1000.0),)
    filled.arrived(whole(cpu_milli=0))
    assert filled.score(no_gpu(8000))["poor"].terms[0][1] == pytest.approx(-1000.0 * 16 / 24)
