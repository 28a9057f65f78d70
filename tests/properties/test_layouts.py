"""Seats against brute force, cuts against counting, records against their own text."""

import json
from collections.abc import Callable
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.switch_worlds import guest
from vgpu.core.layout import Layout, PhysicalGpu, offered, plan, problems, units_of
from vgpu.core.profile import Profile
from vgpu.core.seats import Demand, seat
from vgpu.core.share import UNITS_PER_GPU, SchedulerPolicy
from vgpu.core.switching.record import Asked, Cause, Result, Spent, Step, Switch, SwitchError
from vgpu.core.switching.text import parse, parse_asked, render, render_asked

TYPES = ("v100-4q-4GB", "v100-8q-8GB", "v100-16q-16GB")
SLOTS = st.dictionaries(st.sampled_from(TYPES), st.integers(0, 3), max_size=3)
DEMANDS = st.lists(
    st.builds(
        lambda count, types: (count, tuple(types)),
        st.integers(0, 3),
        st.lists(st.sampled_from(TYPES), max_size=3, unique=True),
    ),
    max_size=4,
).map(
    lambda found: [
        Demand(name=f"model-{index}", count=count, slot_types=types) for index, (count, types) in enumerate(found)
    ]
)


def most_seated(demands: list[Demand], slots: dict[str, int]) -> int:
    """The most replicas that can sit, by trying every type for each of them."""
    replicas = [demand.slot_types for demand in demands for _ in range(demand.count)]
    best = 0
    for choice in product(*((None, *types) for types in replicas)):
        if all(choice.count(kind) <= slots.get(kind, 0) for kind in TYPES):
            best = max(best, sum(kind is not None for kind in choice))
    return best


@given(DEMANDS.filter(lambda demands: sum(demand.count for demand in demands) <= 6), SLOTS)
@settings(deadline=None)
def test_no_other_seating_seats_more(demands: list[Demand], slots: dict[str, int]) -> None:
    wanted = sum(demand.count for demand in demands)
    unseated = seat(demands, slots)
    assert wanted - sum(unseated.values()) == most_seated(demands, slots)
    assert all(0 < unseated.get(demand.name, 1) <= max(demand.count, 1) for demand in demands)


@given(DEMANDS, SLOTS)
def test_a_later_model_takes_nobodys_seat(demands: list[Demand], slots: dict[str, int]) -> None:
    for end in range(len(demands)):
        before, after = seat(demands[:end], slots), seat(demands[: end + 1], slots)
        assert {name: count for name, count in after.items() if name != demands[end].name} == before


@given(DEMANDS, SLOTS, st.sampled_from(TYPES))
def test_one_more_slot_never_seats_fewer(demands: list[Demand], slots: dict[str, int], kind: str) -> None:
    more = {**slots, kind: slots.get(kind, 0) + 1}
    assert sum(seat(demands, slots).values()) - sum(seat(demands, more).values()) in (0, 1)


CUTS = st.lists(st.sampled_from(("v100-1q", "v100-2q", "v100-4q", "v100-8q", "v100-16q")), max_size=20)


@given(CUTS, st.integers(1, 3), st.booleans(), st.sampled_from(SchedulerPolicy))
def test_what_has_no_problem_fits_its_cards(
    cut: list[str], cards: int, mixed_size: bool, policy: SchedulerPolicy
) -> None:
    gpu = PhysicalGpu(name="gpu-a", board="v100", cards=cards, mixed_size=mixed_size, policy=policy)
    guests = tuple(guest(number, profile) for number, profile in enumerate(cut))
    profiles = [one.profile for one in guests]
    is_refused = bool(problems(gpu, guests))
    if not is_refused:
        assert units_of(offered(guests)) <= cards * UNITS_PER_GPU
        assert sum(_mib(profile) for profile in profiles) <= cards * 16 * 1024
    if not mixed_size or policy is SchedulerPolicy.FIXED_SHARE:
        needed = sum(-(-profiles.count(profile) // profile.most_per_gpu) for profile in set(profiles))
        assert is_refused is (needed > cards)


def _mib(profile: object) -> int:
    assert isinstance(profile, Profile)
    return profile.framebuffer_mib


@given(CUTS, CUTS, st.dictionaries(st.sampled_from(TYPES), st.integers(0, 5)))
def test_a_plan_never_counts_more_than_one_of_the_two_cuts(
    before: list[str], after: list[str], beside: dict[str, int]
) -> None:
    days, nights = (tuple(guest(number, profile) for number, profile in enumerate(cut)) for cut in (before, after))
    origin, target = Layout(name="day", guests={"gpu-a": days}), Layout(name="night", guests={"gpu-a": nights})
    planned = plan("gpu-a", origin, target, beside)
    for step in planned.steps:
        ours = {label: count - beside.get(label, 0) for label, count in step.capacity.items()}
        assert all(
            0 <= count <= max(offered(days).get(label, 0), offered(nights).get(label, 0))
            for label, count in ours.items()
        )
        assert planned.lowest_units <= step.units == units_of(step.capacity)
        assert all(planned.lowest[label] <= count for label, count in step.capacity.items())


SECONDS = st.floats(0, 4e9)
TEXT = st.text(max_size=12)
LAYOUT = st.sampled_from(("day", "night"))
LINES = st.builds(Spent, step=st.sampled_from(Step), goal=LAYOUT, seconds=SECONDS, why=TEXT)


@st.composite
def switches(draw: st.DrawFn) -> Switch:
    result = draw(st.none() | st.sampled_from(Result))
    return Switch(
        id=draw(TEXT),
        gpu=draw(TEXT),
        origin="day",
        target="night",
        goal=draw(LAYOUT),
        cause=draw(st.sampled_from(Cause)),
        began_at_s=draw(SECONDS),
        step=draw(st.sampled_from(Step)),
        seen_at_s=draw(SECONDS),
        waited_s=draw(SECONDS),
        spent=tuple(draw(st.lists(LINES, max_size=4))),
        exchanges=draw(st.integers(0, 9)),
        why=draw(TEXT),
        waits_for=draw(TEXT),
        fault=draw(TEXT),
        beats=draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        snapshots=tuple(draw(st.lists(TEXT, max_size=3))),
        attempts=draw(st.integers(0, 99)),
        next_try_at_s=draw(st.none() | SECONDS),
        result=result,
        ended_at_s=None if result is None else draw(SECONDS),
    )


@given(switches())
def test_a_record_reads_back_as_itself(switch: Switch) -> None:
    assert parse(render(switch)) == switch
    assert "\n" not in render(switch)


@given(st.builds(Asked, id=TEXT.filter(bool), layout=TEXT.filter(bool), cause=st.sampled_from(Cause), at_s=SECONDS))
def test_a_request_reads_back_as_itself(asked: Asked) -> None:
    assert parse_asked(render_asked(asked)) == asked


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(("id", "goal", "step", "waited_s", "spent", "beats", "snapshots", "result", "exchanges"))


def refusal(read: Callable[[str], object], text: str) -> str | None:
    """What reading the text is refused with, None where it is read; any other error is the test's failure."""
    try:
        read(text)
    except SwitchError as error:
        return str(error)
    return None


@given(switches(), NAMES, JSON)
def test_a_broken_record_is_refused_by_the_broken_name(switch: Switch, name: str, value: object) -> None:
    said = refusal(parse, json.dumps({**json.loads(render(switch)), name: value}))
    assert said is None or name in said


@given(TEXT)
def test_text_that_is_no_record_is_refused(text: str) -> None:
    for read in (parse, parse_asked):
        said = refusal(read, text)
        assert said is not None
        assert "version" in said or "JSON" in said
