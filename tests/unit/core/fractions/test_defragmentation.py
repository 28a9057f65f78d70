"""Defragmentation: which moves free what, in which order, and what is left alone."""

import pytest

from tests.unit.core.fractions.build import fraction, host, no_gpu, whole
from vgpu.core.fractions.defragmentation import Goal, Move, Plan, Step, Tenant, advise
from vgpu.core.fractions.host import Host
from vgpu.core.fractions.shape import Shape


def tenant(pod: str, where: str, shape: Shape, *gpus: int, is_movable: bool = True) -> Tenant:
    return Tenant(pod=pod, host=where, gpus=gpus, shape=shape, is_movable=is_movable)


def test_a_fraction_moves_to_the_tightest_gpu_that_has_room_and_its_own_becomes_whole() -> None:
    hosts = [host("a", 700, 1000), host("b", 350), host("c", 500)]
    running = [
        tenant("alone", "a", fraction(300), 0),
        tenant("tight", "b", fraction(650), 0, is_movable=False),
        tenant("loose", "c", fraction(500), 0, is_movable=False),
    ]
    assert advise(hosts, running) == Plan(
        goal=Goal.GPU,
        steps=(
            Step(
                host="a",
                gpu=0,
                moves=(Move(pod="alone", units=300, from_host="a", from_gpus=(0,), to_host="b", to_gpus=(0,)),),
                freed_units=1000,
                fragment_units=700,
            ),
        ),
        idle_gpus_before=1,
        idle_gpus_after=2,
    )


def test_the_step_with_the_greatest_gain_for_a_move_comes_first_and_no_pod_moves_twice() -> None:
    """The 400 goes to the GPU of the two small ones, or these to it: one move is cheaper than two."""
    hosts = [host("a", 600), host("b", 400)]
    running = [
        tenant("large", "a", fraction(400), 0),
        tenant("small-1", "b", fraction(300), 0),
        tenant("small-2", "b", fraction(300), 0),
    ]
    plan = advise(hosts, running)
    assert [(step.gpu, step.host, step.gain_per_move) for step in plan.steps] == [(0, "a", 1000.0)]
    assert [move.pod for move in plan.moves] == ["large"]
    assert advise(hosts, running, most_moves=0).steps == ()


def test_another_gpu_of_the_same_host_will_do() -> None:
    (move,) = advise([host("a", 600, 500, cpu_milli=0)], [
        tenant("x", "a", fraction(400), 0),
        tenant("y", "a", fraction(500), 1),
    ]).moves  # fmt: skip
    assert (move.pod, move.to_host, move.to_gpus) == ("x", "a", (1,))


@pytest.mark.parametrize(
    ("hosts", "running"),
    [
        pytest.param([host("a", 700), host("b", 1000)], [tenant("x", "a", fraction(300), 0)], id="only to an idle GPU"),
        pytest.param(
            [host("a", 700), host("b", 500, cpu_milli=0)],
            [tenant("x", "a", fraction(300), 0), tenant("y", "b", fraction(500), 0, is_movable=False)],
            id="where CPU is used up",
        ),
        pytest.param(
            [host("a", 700), host("b", 500, model="T4")],
            [
                tenant("x", "a", fraction(300, models=frozenset({"V100"})), 0),
                tenant("y", "b", fraction(500), 0, is_movable=False),
            ],
            id="to a model that it does not allow",
        ),
        pytest.param(
            [host("a", 600), host("b", 500)],
            [tenant("x", "a", fraction(300), 0), tenant("y", "b", fraction(500), 0, is_movable=False)],
            id="where 100 units of its GPU are somebody else's",
        ),
        pytest.param(
            [host("a", 0), host("b", 0)],
            [tenant("x", "a", whole(), 0), tenant("y", "b", whole(), 0)],
            id="a whole GPU, that would only change places",
        ),
    ],
)
def test_what_is_not_moved(hosts: list[Host], running: list[Tenant]) -> None:
    plan = advise(hosts, running)
    idle = sum(each.free_units.count(1000) for each in hosts)
    assert plan == Plan(goal=Goal.GPU, steps=(), idle_gpus_before=idle, idle_gpus_after=idle)
    assert plan.report() == (f"no move would free a gpu: {idle} GPUs are idle",)


def test_a_host_is_vacated_with_all_that_runs_on_it() -> None:
    hosts = [host("a", 0, 700, cpu_milli=90_000), host("b", 1000, 400), host("c", 1000, 1000)]
    running = [
        tenant("whole", "a", whole(), 0),
        tenant("part", "a", fraction(300), 1),
        tenant("plain", "a", no_gpu(4000)),
        tenant("other", "b", fraction(600), 1, is_movable=False),
    ]
    plan = advise(hosts, running, goal=Goal.HOST)
    assert plan.report() == (
        "3 moves would free 2000 units: idle GPUs from 3 to 4",
        "host a: 2000 units for 3 moves (700 were fragments)",
        "  whole (1000 units): a GPU 0 to b GPU 0",
        "  part (300 units): a GPU 1 to b GPU 1",
        "  plain (0 units): a to b",
    )


def test_a_host_is_not_vacated_in_part_nor_onto_an_idle_one() -> None:
    hosts = [host("a", 700, 0), host("b", 600), host("c", 1000, 1000)]
    running = [
        tenant("part", "a", fraction(300), 0),
        tenant("whole", "a", whole(), 1),
        tenant("other", "b", fraction(400), 0, is_movable=False),
    ]
    assert advise(hosts, running, goal=Goal.HOST).steps == ()


@pytest.mark.parametrize(
    ("running", "said"),
    [
        pytest.param(tenant("x", "nowhere", fraction(1), 0), "pod x runs on host nowhere", id="unknown host"),
        pytest.param(tenant("x", "a", fraction(1), 1), r"on GPUs \(1,\) of a, which has 1", id="unknown GPU"),
        pytest.param(tenant("x", "a", fraction(1)), r"pod x of 1 GPUs is said to be on GPUs \(\)", id="no GPU"),
        pytest.param(tenant("x", "a", fraction(600), 0), "600 units used and 500 free; it has 1000", id="too much"),
    ],
)
def test_what_cannot_be_is_refused(running: Tenant, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        advise([host("a", 500)], [running])
