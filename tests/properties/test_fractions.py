"""Fractions: kept scores against scores from scratch, look-ups against the definition, never more than there is."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.fractions import definition
from vgpu.core.fractions.board import Board
from vgpu.core.fractions.bound import most_allocated_units
from vgpu.core.fractions.demand import Demand
from vgpu.core.fractions.host import Host
from vgpu.core.fractions.policies import POLICIES, Policy
from vgpu.core.fractions.rows import Rows, as_row
from vgpu.core.fractions.shape import Shape
from vgpu.core.fractions.tables import Tables

MODELS = ("A10", "T4", "V100")
# Few values, so that equal hosts, exact fits and ties are common.
CPUS = (0, 1000, 4000, 9000, 16_000)
UNITS = (0, 1, 190, 320, 470, 500, 810, 999, 1000)
allowed = st.sampled_from([frozenset(), frozenset({"T4"}), frozenset({"T4", "V100"}), frozenset({"H100"})])
shapes = st.one_of(
    st.builds(
        Shape, cpu_milli=st.sampled_from(CPUS), memory_mib=st.sampled_from((0, 512)), gpus=st.just(0), units=st.just(0)
    ),
    st.builds(
        Shape,
        cpu_milli=st.sampled_from(CPUS),
        memory_mib=st.sampled_from((0, 512)),
        gpus=st.just(1),
        units=st.sampled_from(UNITS[1:]),
        models=allowed,
    ),
    st.builds(
        Shape,
        cpu_milli=st.sampled_from(CPUS),
        memory_mib=st.just(0),
        gpus=st.integers(2, 9),
        units=st.just(1000),
        models=allowed,
    ),
)
policies = st.sampled_from([policy for policy in POLICIES.values() if not policy.draws])


@st.composite
def hosts(draw: st.DrawFn, name: str | None = None) -> Host:
    return Host(
        name=name or draw(st.sampled_from([f"n{index}" for index in range(6)])),
        cpu_milli=draw(st.sampled_from((0, 1000, 5000, 16_000, 96_000))),
        memory_mib=draw(st.sampled_from((0, 1024))),
        free_units=tuple(draw(st.lists(st.sampled_from(UNITS), max_size=10))),
        model=draw(st.sampled_from(MODELS)),
        kinds=draw(st.frozensets(st.sampled_from((0, 1, 8)))),
    )


# What may happen to a board: a host comes or changes, one goes, a pod arrives, a pod asks (and takes what it gets).
events = st.lists(
    st.one_of(
        st.tuples(st.just("put"), hosts()),
        st.tuples(st.just("drop"), st.sampled_from([f"n{index}" for index in range(6)])),
        st.tuples(st.just("arrived"), shapes),
        st.tuples(st.just("asks"), shapes),
    ),
    max_size=30,
)


def scratch(policy: Policy, known: Sequence[Host], classes: Sequence[Shape]) -> Board:
    board = Board(policy, demand=Demand.known(Counter(classes)))
    for host in known:
        board.put(host)
    return board


@given(policies, st.lists(shapes, max_size=6), events)
def test_kept_scores_are_the_scores_from_scratch_whatever_happened(
    policy: Policy, mix: list[Shape], happened: list[tuple[str, object]]
) -> None:
    board, known = scratch(policy, [], mix), dict[str, Host]()
    for what, subject in happened:
        if isinstance(subject, Host):
            known[subject.name] = subject
            board.put(subject)
        elif isinstance(subject, str):
            known.pop(subject, None)
            board.drop(subject)
        elif what == "arrived":
            board.arrived(subject)
        else:
            fresh = scratch(policy, list(known.values()), mix)
            chosen = board.choose(subject)
            assert chosen == fresh.choose(subject)
            assert list(board.score(subject).items()) == list(fresh.score(subject).items())
            if chosen is not None:
                taken = known[chosen.host].without(subject, chosen.gpus)  # refuses more than there is
                known[chosen.host] = taken
                board.put(taken)


@given(policies, st.lists(shapes, max_size=6), st.lists(hosts(), max_size=6), shapes, st.randoms(use_true_random=False))
def test_the_order_of_hosts_makes_no_difference(
    policy: Policy, mix: list[Shape], given_hosts: list[Host], shape: Shape, shuffled: Random
) -> None:
    named = list({host.name: host for host in given_hosts}.values())
    other = list(named)
    shuffled.shuffle(other)
    assert scratch(policy, named, mix).choose(shape) == scratch(policy, other, mix).choose(shape)


@given(policies, st.lists(hosts(), max_size=6), shapes)
def test_a_host_is_offered_exactly_when_the_shape_fits_it(
    policy: Policy, given_hosts: list[Host], shape: Shape
) -> None:
    named = {host.name: host for host in given_hosts}
    offered = scratch(policy, list(named.values()), ()).score(shape)
    assert set(offered) == {name for name, host in named.items() if host.fits(shape)}
    for name, choice in offered.items():
        assert len(set(choice.gpus)) == shape.gpus
        named[name].without(shape, choice.gpus)  # refuses more than there is


@given(
    st.sampled_from(sorted(POLICIES)), st.lists(hosts(), max_size=4), st.lists(shapes, max_size=30), st.integers(0, 99)
)
def test_no_gpu_ever_gives_more_than_it_has(policy: str, given_hosts: list[Host], pods: list[Shape], seed: int) -> None:
    draws = Random(seed)
    board, known = Board(POLICIES[policy], draw=draws.randrange), {host.name: host for host in given_hosts}
    for host in known.values():
        board.put(host)
    before = sum(sum(host.free_units) for host in known.values())
    placed = 0
    for pod in pods:
        board.arrived(pod)
        choice = board.choose(pod)
        assert (choice is None) == (not any(host.fits(pod) for host in known.values()))
        if choice is not None:
            known[choice.host] = known[choice.host].without(pod, choice.gpus)
            board.put(known[choice.host])
            placed += pod.total_units
    assert before - placed == sum(sum(host.free_units) for host in known.values())


@given(st.lists(hosts(), min_size=1, max_size=5), st.lists(shapes, max_size=8))
def test_look_ups_are_the_definition(given_hosts: list[Host], mix: list[Shape]) -> None:
    counts = Counter(shape.without_memory() for shape in mix)
    models = {model: code for code, model in enumerate(MODELS)}
    tables = Tables(Demand.known(counts).classes(), models, 10)
    rows = Rows(np.array([as_row(host, models, 10) for host in given_hosts]))
    assert tables.fragmentation(rows).tolist() == [definition.fragmentation(host, counts) for host in given_hosts]
    assert tables.stranding(rows) == pytest.approx(
        [float(definition.stranding(host, counts)) for host in given_hosts], abs=1e-6
    )


@given(st.lists(hosts(), min_size=1, max_size=5), st.lists(shapes, max_size=8), shapes)
def test_fragmentation_after_a_pod_is_that_of_the_changed_host(
    given_hosts: list[Host], mix: list[Shape], shape: Shape
) -> None:
    """And no other GPU of a fraction would leave less."""
    fitting = [host for host in given_hosts if host.fits(shape)]
    if not fitting:
        return
    counts = Counter(each.without_memory() for each in mix)
    models = {model: code for code, model in enumerate(MODELS)}
    tables = Tables(Demand.known(counts).classes(), models, 10)
    after, gpus = tables.fragmentation_after(Rows(np.array([as_row(host, models, 10) for host in fitting])), shape)
    for place, host in enumerate(fitting):
        trials = {
            gpu: definition.fragmentation(host.without(shape, (gpu,)), counts)
            for gpu, units in enumerate(host.free_units)
            if shape.is_fraction and units >= shape.units
        }
        if gpus is None:
            idle = tuple(gpu for gpu, units in enumerate(host.free_units) if units == 1000)[: shape.gpus]
            assert after[place] == definition.fragmentation(host.without(shape, idle), counts)
        else:
            assert after[place] == min(trials.values())
            assert gpus[place] == min(trials, key=lambda gpu: (trials[gpu], gpu))


@given(st.integers(1, 4), st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_no_first_fit_beats_the_bound(gpus: int, sizes: list[int], shuffled: Random) -> None:
    shuffled.shuffle(sizes)
    free = [1000] * gpus
    for size in sizes:
        fits = [gpu for gpu in range(gpus) if free[gpu] >= size]
        if fits:
            free[fits[0]] -= size
    bound = most_allocated_units(gpus, Counter(sizes))
    assert 1000 * gpus - sum(free) <= bound + 1e-6
    assert bound <= min(1000 * gpus, sum(sizes)) + 1e-6


def fgd_by_definition(known: Sequence[Host], mix: Sequence[Shape], shape: Shape) -> tuple[str, tuple[int, ...]] | None:
    """Every host, every GPU of a fraction, the authors' integer score, the first name among the best."""
    counts, best = Counter(each.without_memory() for each in mix), None
    for host in sorted(known, key=lambda each: each.name):
        if not host.fits(shape):
            continue
        room = [gpu for gpu, units in enumerate(host.free_units) if shape.gpus and units >= shape.units]
        trials = [(gpu,) for gpu in room] if shape.is_fraction else [tuple(room[: shape.gpus])]
        before = definition.fragmentation(host, counts)
        falls = [before - definition.fragmentation(host.without(shape, gpus), counts) for gpus in trials]
        gain = max(falls) / max(sum(counts.values()), 1)
        score = int(100 / (1 + np.exp(-gain / 1000)))
        if best is None or score > best[0]:
            best = (score, host.name, trials[falls.index(max(falls))])
    return None if best is None else best[1:]


@given(st.lists(shapes, max_size=6), st.lists(hosts(), max_size=6), shapes)
def test_fgd_is_its_definition(mix: list[Shape], given_hosts: list[Host], shape: Shape) -> None:
    known = list({host.name: host for host in given_hosts}.values())
    choice = scratch(POLICIES["fgd"], known, mix).choose(shape)
    assert (None if choice is None else (choice.host, choice.gpus)) == fgd_by_definition(known, mix, shape)
