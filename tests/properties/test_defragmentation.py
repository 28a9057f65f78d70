"""Defragmentation over random clusters: a plan can be followed, keeps what it promises, and loses nothing."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from vgpu.core.fractions.board import Board
from vgpu.core.fractions.defragmentation import Goal, Tenant, advise
from vgpu.core.fractions.host import Host
from vgpu.core.fractions.policies import POLICIES
from vgpu.core.fractions.shape import Shape

shapes = st.one_of(
    st.builds(
        Shape,
        cpu_milli=st.sampled_from((0, 1000, 4000)),
        memory_mib=st.just(1),
        gpus=st.just(1),
        units=st.sampled_from((100, 320, 470, 500, 810, 1000)),
        models=st.sampled_from((frozenset(), frozenset({"T4"}))),
    ),
    st.builds(Shape, cpu_milli=st.just(2000), memory_mib=st.just(1), gpus=st.just(2), units=st.just(1000)),
    st.builds(Shape, cpu_milli=st.just(2000), memory_mib=st.just(1), gpus=st.just(0), units=st.just(0)),
)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[dict[str, Host], list[Tenant]]:
    """Hosts filled at random; some pods have left again, some may not be moved."""
    draws = Random(draw(st.integers(0, 999)))
    hosts = {}
    for index in range(draw(st.integers(1, 5))):
        hosts[f"n{index}"] = Host(
            name=f"n{index}",
            cpu_milli=draw(st.sampled_from((4000, 16_000))),
            memory_mib=100,
            free_units=(1000,) * draw(st.integers(0, 3)),
            model=draw(st.sampled_from(("T4", "V100"))),
        )
    board = Board(POLICIES["random"], draw=draws.randrange)
    for host in hosts.values():
        board.put(host)
    running = []
    for number, shape in enumerate(draw(st.lists(shapes, max_size=20))):
        choice = board.choose(shape)
        if choice is not None:
            hosts[choice.host] = hosts[choice.host].without(shape, choice.gpus)
            board.put(hosts[choice.host])
            is_movable = draws.random() < 0.8
            running.append(
                Tenant(pod=f"p{number}", host=choice.host, gpus=choice.gpus, shape=shape, is_movable=is_movable)
            )
    leaving = [tenant for tenant in running if draws.random() < 0.3]
    for tenant in leaving:
        hosts[tenant.host] = hosts[tenant.host].with_back(tenant.shape, tenant.gpus)
    return hosts, [tenant for tenant in running if tenant not in leaving]


def idle(hosts: dict[str, Host]) -> int:
    return sum(host.free_units.count(1000) for host in hosts.values())


@given(clusters(), st.sampled_from(Goal), st.none() | st.integers(0, 5))
def test_a_plan_can_be_followed_move_by_move_and_frees_what_it_says(
    cluster: tuple[dict[str, Host], list[Tenant]], goal: Goal, most_moves: int | None
) -> None:
    hosts, running = cluster
    by_pod = {tenant.pod: tenant for tenant in running}
    plan = advise(hosts.values(), running, goal=goal, most_moves=most_moves)
    assert plan == advise(reversed(list(hosts.values())), running[::-1], goal=goal, most_moves=most_moves)
    assert plan.idle_gpus_before == idle(hosts)
    now, where = dict(hosts), {tenant.pod: tenant.host for tenant in running}
    for move in plan.moves:
        tenant = by_pod[move.pod]
        assert tenant.is_movable
        assert (move.from_host, move.from_gpus, move.units) == (tenant.host, tenant.gpus, tenant.shape.total_units)
        now[move.from_host] = now[move.from_host].with_back(tenant.shape, tenant.gpus)
        assert now[move.to_host].fits(tenant.shape)
        if goal is Goal.GPU:
            assert all(now[move.to_host].free_units[gpu] < 1000 for gpu in move.to_gpus)
        now[move.to_host] = now[move.to_host].without(tenant.shape, move.to_gpus)  # refuses more than there is
        where[move.pod] = move.to_host
    assert len({move.pod for move in plan.moves}) == len(plan.moves) <= (most_moves if most_moves is not None else 99)
    assert plan.idle_gpus_after == idle(now)
    gains = [step.gain_per_move for step in plan.steps]
    assert gains == sorted(gains, reverse=True)
    for step in plan.steps:
        if step.gpu is None:
            assert step.host not in where.values()
            assert set(now[step.host].free_units) <= {1000}
        else:
            assert now[step.host].free_units[step.gpu] == 1000
    if goal is Goal.GPU:
        assert plan.idle_gpus_after - plan.idle_gpus_before == len(plan.steps)
    assert sum(map(sum, (host.free_units for host in now.values()))) == sum(
        map(sum, (host.free_units for host in hosts.values()))
    )
