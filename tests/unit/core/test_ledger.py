"""The books: nothing is promised twice, nothing is lost, and what the API server says wins."""

import pytest

from tests.unit.extender import build
from vgpu.core.allocation import Allocation, Grant, GrantedGpu
from vgpu.core.hold import Difference, Entry, Hold, State
from vgpu.core.ledger import ASSUMED_FOR_S, Ledger
from vgpu.core.offer import Offer, parse_offer


def hold(uid: str, units: int, *, gpu: int = 0, node: str = "n", doubt: str = "") -> Hold:
    kept = Allocation(node=node, grants=(), kept_units=((f"GPU-{node}-{gpu}", units),)) if units else None
    return Hold(uid=uid, pod=f"default/{uid}", node=node, allocation=kept, cpu_milli=1000, memory_mib=10, doubt=doubt)


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.offer(parse_offer(build.node("n", 16384, 16384)))
    return made


def test_a_promise_takes_units_until_its_time_is_over(ledger: Ledger) -> None:
    ledger.assume(hold("a", 600), 0.0)
    assert ledger.free_units("n") == (400, 1000)
    assert ledger.free_cpu_memory("n") == (63000, 256 * 1024 - 10)
    assert ledger.expire(ASSUMED_FOR_S - 0.1) == ()
    assert ledger.free_units("n") == (400, 1000)
    assert ledger.expire(ASSUMED_FOR_S) == ()
    assert ledger.free_units("n") == (1000, 1000)
    assert ledger.free_cpu_memory("n") == (64000, 256 * 1024)


def test_units_are_not_promised_twice(ledger: Ledger) -> None:
    ledger.assume(hold("a", 600), 0.0)
    with pytest.raises(
        ValueError, match="GPU GPU-n-0 of node n has 1000 units, 600 are held by others, 500 are claimed"
    ):
        ledger.assume(hold("b", 500), 0.0)
    assert set(ledger.entries) == {"a"}


def test_a_new_promise_replaces_the_old_one(ledger: Ledger) -> None:
    ledger.assume(hold("a", 600), 0.0)
    ledger.assume(hold("a", 700), 1.0)
    assert ledger.free_units("n") == (300, 1000)


def test_a_binding_outlives_its_deadline_until_somebody_looks(ledger: Ledger) -> None:
    ledger.assume(hold("a", 600), 0.0)
    ledger.begin("a", 1.0)
    assert ledger.expire(1000.0) == (hold("a", 600),)
    assert ledger.free_units("n") == (400, 1000)
    ledger.fail("a")
    assert ledger.free_units("n") == (1000, 1000)


def test_a_pod_deleted_before_the_answer_comes_holds_nothing(ledger: Ledger) -> None:
    ledger.assume(hold("a", 600), 0.0)
    ledger.begin("a", 0.0)
    ledger.gone("a")
    ledger.confirm("a", 1.0)
    assert ledger.entries == {}
    assert ledger.free_units("n") == (1000, 1000)


def test_a_failed_binding_does_not_drop_what_somebody_else_bound(ledger: Ledger) -> None:
    ledger.assume(hold("a", 600), 0.0)
    ledger.begin("a", 0.0)
    ledger.observe(hold("a", 600, gpu=1), 1.0)
    ledger.fail("a")
    assert ledger.free_units("n") == (1000, 400)


def test_a_bound_pod_that_cannot_be_true_makes_its_node_doubted(ledger: Ledger) -> None:
    ledger.observe(hold("a", 600), 0.0)
    why = "pod default/b: GPU GPU-n-0 of node n has 1000 units, 600 are held by others, 500 are claimed"
    assert ledger.observe(hold("b", 500), 0.0) == why
    assert ledger.refusal("n") == why
    assert ledger.free_units("n") == (400, 1000)
    ledger.gone("a")
    ledger.observe(hold("b", 500), 1.0)
    assert (ledger.refusal("n"), ledger.free_units("n")) == ("", (500, 1000))


def test_annotations_spoilt_after_the_binding_change_nothing(ledger: Ledger) -> None:
    ledger.observe(hold("a", 600), 0.0)
    assert ledger.observe(hold("a", 0, doubt="spoilt"), 1.0) == "spoilt"
    assert ledger.entries == {"a": Entry(hold=hold("a", 600), state=State.BOUND, since_s=0.0)}
    assert ledger.refusal("n") == ""


def test_differences_are_what_a_list_shows_and_the_books_do_not(ledger: Ledger) -> None:
    ledger.observe(hold("a", 600), 0.0)
    ledger.observe(hold("b", 100), 0.0)
    since = ledger.sequence
    listed = (hold("a", 500), hold("c", 200, gpu=1))
    assert ledger.differences(listed, since=since) == (
        Difference(uid="a", pod="default/a", in_ledger=hold("a", 600), in_annotations=hold("a", 500)),
        Difference(uid="b", pod="default/b", in_ledger=hold("b", 100), in_annotations=None),
        Difference(uid="c", pod="default/c", in_ledger=None, in_annotations=hold("c", 200, gpu=1)),
    )
    ledger.gone("b")
    ledger.gone("a")
    assert [difference.uid for difference in ledger.differences(listed, since=since)] == ["c"]


def test_a_node_that_leaves_and_comes_back_has_its_holds(ledger: Ledger) -> None:
    ledger.observe(hold("a", 600), 0.0)
    ledger.withdraw("n")
    assert ledger.refusal("n") == "the node is not known yet"
    ledger.offer(parse_offer(build.node("n", 16384, 16384)))
    assert ledger.free_units("n") == (400, 1000)


def test_a_lost_gpu_has_nothing_free_and_keeps_its_holds(ledger: Ledger) -> None:
    ledger.observe(hold("a", 600), 0.0)
    node = build.node("n", 16384, 16384)
    node["metadata"]["annotations"] = {"vgpu-serve.io/gpus": "v1 GPU-n-0:16384:unhealthy GPU-n-1:16384"}
    ledger.offer(parse_offer(node))
    assert (ledger.free_units("n"), dict(ledger.taken_units("n"))) == ((0, 1000), {"GPU-n-0": 600})


def test_a_copy_is_apart(ledger: Ledger) -> None:
    ledger.assume(hold("a", 600), 0.0)
    other = ledger.copy()
    other.assume(hold("b", 400), 0.0)
    other.gone("a")
    assert (ledger.free_units("n"), other.free_units("n")) == ((400, 1000), (600, 1000))
    assert ledger.free_cpu_memory("n") == other.free_cpu_memory("n")


def offered(gpus: str, units: int = 2000) -> Offer:
    node = build.node("n", 16384, 16384)
    node["metadata"]["annotations"] = {"vgpu-serve.io/gpus": gpus}
    node["status"]["allocatable"]["nvidia.com/vgpu"] = str(units)
    return parse_offer(node)


def granted(uid: str, units: int, *, gpu: int = 0, uuid: str | None = None) -> Hold:
    given = GrantedGpu(index=gpu, uuid=uuid)
    grant = Grant(container="main", gpus=(given,), units=units, framebuffer_mib=1)
    kept = Allocation(node="n", grants=(grant,), kept_units=((given.key, units),))
    return Hold(uid=uid, pod=f"default/{uid}", node="n", allocation=kept)


NAMELESS, NAMED = "v1 -:16384 -:16384", "v1 GPU-a:16384 GPU-b:16384"
RENAMED = {
    "UUIDs become known": (NAMELESS, granted("a", 700, gpu=1), NAMED),
    "UUIDs are no longer known": (NAMED, granted("a", 700, gpu=1, uuid="GPU-b"), NAMELESS),
}


@pytest.mark.parametrize(("before", "hold", "after"), RENAMED.values(), ids=RENAMED)
@pytest.mark.parametrize("is_bound", [True, False])
def test_a_gpu_that_changes_its_name_keeps_what_is_held_of_it(
    before: str, hold: Hold, after: str, *, is_bound: bool
) -> None:
    ledger = Ledger()
    ledger.offer(offered(before))
    if is_bound:
        ledger.observe(hold, 0.0)
    else:
        ledger.assume(hold, 0.0)
    ledger.offer(offered(after))
    assert (ledger.refusal("n"), ledger.free_units("n")) == ("", (1000, 300))
    ledger.offer(offered(before))
    ledger.gone("a")
    assert (ledger.free_units("n"), dict(ledger.taken_units("n"))) == ((1000, 1000), {})


@pytest.mark.parametrize(("before", "hold", "after"), RENAMED.values(), ids=RENAMED)
def test_a_restart_after_the_change_reads_the_same(before: str, hold: Hold, after: str) -> None:
    ledger = Ledger()
    ledger.offer(offered(after))
    assert ledger.observe(hold, 0.0) == ""
    assert ledger.free_units("n") == (1000, 300)


def test_a_card_that_moved_to_another_index_is_the_same_card() -> None:
    ledger = Ledger()
    ledger.observe(granted("a", 700, gpu=1, uuid="GPU-b"), 0.0)
    ledger.offer(offered("v1 GPU-b:16384 GPU-a:16384"))
    assert ledger.free_units("n") == (300, 1000)


GONE = {
    "another card in its place": (granted("a", 700, uuid="GPU-x"), "GPU-x"),
    "no such place": (granted("a", 700, gpu=7), "#7"),
}


@pytest.mark.parametrize(("hold", "key"), GONE.values(), ids=GONE)
def test_a_node_without_the_card_that_a_pod_holds_is_doubted_until_it_is_back(hold: Hold, key: str) -> None:
    why = f"pod default/a: GPU {key} is not on node n, which has GPU-a, GPU-b"
    ledger = Ledger()
    ledger.observe(hold, 0.0)  # before anybody knows the node
    ledger.offer(offered(NAMED))
    assert (ledger.refusal("n"), ledger.free_units("n")) == (why, (1000, 1000))
    assert ledger.observe(hold, 1.0) == why
    ledger.offer(offered("v1 " + " ".join([*["GPU-a:16384"] * (key == "#7"), f"{key.replace('#7', '-')}:16384"])))
    assert bool(ledger.refusal("n")) == (key == "#7")
    ledger.gone("a")
    assert ledger.refusal("n") == ""


def test_a_card_with_fewer_units_than_are_held_is_doubted() -> None:
    ledger = Ledger()
    for hold in (granted("a", 400, uuid="GPU-a"), granted("b", 400, uuid="GPU-a")):
        ledger.observe(hold, 0.0)
    ledger.offer(offered("v1 GPU-a:16384:500", 500))
    assert ledger.free_units("n") == (100,)
    assert ledger.refusal("n") == (
        "pod default/b: GPU GPU-a of node n has 500 units, 400 are held by others, 400 are claimed"
    )
    ledger.offer(offered("v1 GPU-a:16384", 1000))
    assert (ledger.refusal("n"), ledger.free_units("n")) == ("", (200,))


def test_a_promise_on_a_card_that_went_is_dropped_and_a_binding_is_doubted() -> None:
    ledger = Ledger()
    ledger.offer(offered(NAMED))
    ledger.assume(granted("a", 400, uuid="GPU-a"), 0.0)
    ledger.assume(granted("b", 400, uuid="GPU-a"), 0.0)
    ledger.begin("b", 0.0)
    ledger.offer(offered("v1 GPU-b:16384", 1000))
    assert {uid: entry.state for uid, entry in ledger.entries.items()} == {"b": State.BINDING}
    assert ledger.refusal("n") == "pod default/b: GPU GPU-a is not on node n, which has GPU-b"
    assert not ledger.is_sound(ledger.entries["b"].hold)
    ledger.fail("b")
    assert ledger.refusal("n") == ""


def test_a_node_stays_changed_until_it_is_settled(ledger: Ledger) -> None:
    assert ledger.changed == ledger.changed == ("n",)
    ledger.settle("n")
    assert ledger.changed == ()
    ledger.assume(hold("a", 600), 0.0)
    assert ledger.changed == ("n",)


def test_doubts_of_a_copy_are_apart(ledger: Ledger) -> None:
    other = ledger.copy()
    ledger.observe(hold("a", 0, doubt="lost"), 0.0)
    third = ledger.copy()
    third.gone("a")
    assert (other.refusal("n"), ledger.refusal("n"), third.refusal("n")) == ("", "lost", "")
    assert ledger.refusal("n", without=("a",)) == ""
