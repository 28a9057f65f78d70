"""Each race by name: one order of events that has gone wrong in some scheduler, step by step."""

from typing import Any

import pytest

from tests.unit.extender import build
from tests.unit.extender.world import Member, Work, World
from vgpu.adapters.kube_errors import Unavailable
from vgpu.core import request
from vgpu.core.hold import State
from vgpu.extender import binding
from vgpu.extender.binding import ReadPod, WriteBinding
from vgpu.extender.desk import Busy


@pytest.fixture
def world() -> World:
    """Two nodes of one GPU, of different size; one leader."""
    made = World(build.node("n0", 16384), build.node("n1", 32768))
    made.elect(Member(made))
    return made


def leader(world: World) -> Member:
    assert world.leader is not None
    return world.leader


def create(world: World, name: str, units: int) -> Any:
    return world.api.create(build.share(name, units))


def schedule(world: World, pod: Any) -> Work:
    """Filter, then the Binding is called for and not served yet."""
    node = leader(world).filter(pod)
    assert node is not None
    return leader(world).start_bind(pod, node)


def place(world: World, name: str, units: int) -> Any:
    """A pod that is bound and seen."""
    pod = create(world, name, units)
    assert leader(world).finish(schedule(world, pod)) == ""
    leader(world).hear()
    return world.api.pods[request.pod_key(pod)]


def time_out(work: Work) -> None:
    """The caller gives up on what it called for."""
    work.fault, work.answer, work.is_done = Unavailable("call", "timed out"), None, True


def test_two_pods_for_the_last_units(world: World) -> None:
    for name in ("a", "b"):
        place(world, name, 600)
    first, second = create(world, "c", 400), create(world, "d", 400)
    third = create(world, "e", 400)
    works = [schedule(world, first), schedule(world, second)]
    assert leader(world).filter(third) is None
    assert [leader(world).finish(work) for work in works] == ["", ""]
    assert sorted(world.api.held_units().values()) == [1000, 1000]
    world.settle()


def test_a_binding_that_fails_gives_its_units_back(world: World) -> None:
    pod = create(world, "a", 700)
    work = schedule(world, pod)
    world.api.change("default/a", metadata={"deletionTimestamp": "2027-01-15T08:00:00Z"})
    assert leader(world).finish(work) == "POST binding: already assigned, or being deleted"
    assert leader(world).desk.ledger.entries == {}
    world.api.delete("default/a")
    world.settle()


def test_a_pod_deleted_while_its_binding_is_under_way(world: World) -> None:
    pod = create(world, "a", 700)
    work = schedule(world, pod)
    leader(world).serve(work)
    world.api.delete("default/a")
    leader(world).hear()
    leader(world).go_on(work)
    assert work.result == ""
    assert leader(world).desk.ledger.entries == {}
    world.settle()


def test_a_pod_deleted_and_made_again_before_its_binding(world: World) -> None:
    """The new pod has the old name and another uid: it gets a place of its own and none of the old one's."""
    old = create(world, "a", 700)
    work = schedule(world, old)
    world.api.delete("default/a")
    new = create(world, "a", 300)
    uid = old["metadata"]["uid"]
    assert leader(world).finish(work) == f"pod default/a is another one by now: its uid is no longer {uid}"
    assert leader(world).finish(schedule(world, new)) == ""
    assert sorted(world.api.held_units().values()) == [300]
    world.settle()


def test_an_answer_that_is_lost_is_looked_up(world: World) -> None:
    work = schedule(world, create(world, "a", 700))
    leader(world).serve(work)
    time_out(work)
    leader(world).go_on(work)
    assert isinstance(work.call, ReadPod)
    assert leader(world).finish(work) == ""
    world.settle()


def test_a_binding_that_arrives_after_its_caller_gave_up(world: World) -> None:
    """Nobody can tell what became of it, so its units stay held, and the scheduler that asks again gets the same."""
    pod = create(world, "a", 700)
    work = schedule(world, pod)
    write = work.call
    time_out(work)
    leader(world).go_on(work)
    assert leader(world).finish(work) == "call: timed out"
    assert [entry.state for entry in leader(world).desk.ledger.entries.values()] == [State.BINDING]
    assert leader(world).filter(create(world, "b", 700)) == "n1"
    world.api.bind(write)
    again = schedule(world, pod)
    assert isinstance(again.call, WriteBinding)
    assert again.call == write
    assert leader(world).finish(again) == ""
    world.settle()


def test_a_binding_that_never_arrives_frees_its_units_once_that_is_certain(world: World) -> None:
    work = schedule(world, create(world, "a", 700))
    for _ in range(2):  # the write, then the look at the pod
        time_out(work)
        leader(world).go_on(work)
    assert work.result == "call: timed out; then call: timed out"
    world.pass_time(59.0)
    leader(world).finish(leader(world).start(binding.expire(leader(world).desk, world.clock)))
    assert len(leader(world).desk.ledger.entries) == 1
    world.pass_time(2.0)
    leader(world).finish(leader(world).start(binding.expire(leader(world).desk, world.clock)))
    assert leader(world).desk.ledger.entries == {}


def test_a_binding_sent_again_while_the_former_one_is_looked_up(world: World) -> None:
    """The look finds no node on the pod, and that is true; but by now another Binding is on its way."""
    pod = create(world, "a", 700)
    work = schedule(world, pod)
    for _ in range(2):
        time_out(work)
        leader(world).go_on(work)
    world.pass_time(61.0)
    leader(world).leads_until_s = world.now_s + 60.0
    look = leader(world).start(binding.expire(leader(world).desk, world.clock))
    leader(world).serve(look)
    again = leader(world).start_bind(pod, "n0")
    leader(world).go_on(look)
    assert leader(world).desk.ledger.free_units("n0") == (300,)
    assert leader(world).finish(again) == ""
    world.settle()


def test_a_pod_is_not_sent_elsewhere_while_its_binding_is_under_way(world: World) -> None:
    pod = create(world, "a", 700)
    work = schedule(world, pod)
    assert leader(world).filter(pod) == "n0"
    with pytest.raises(Busy, match="pod default/a is binding to node n0, which is not among the nodes asked"):
        leader(world).filter(pod, ["n1"])
    assert leader(world).start_bind(pod, "n0").result == "pod default/a: its former Binding is still under way"
    assert leader(world).finish(work) == ""


def test_a_pod_asked_for_again_without_its_node_goes_elsewhere(world: World) -> None:
    pod = create(world, "a", 700)
    assert leader(world).filter(pod) == "n0"
    assert leader(world).filter(pod, ["n1"]) == "n1"
    assert leader(world).desk.ledger.free_units("n0") == (1000,)


def test_a_restart_knows_what_was_bound_and_forgets_what_was_promised(world: World) -> None:
    place(world, "a", 600)
    assert leader(world).filter(create(world, "b", 500)) == "n1"
    world.elect(Member(world))
    assert leader(world).desk.ledger.free_units("n0") == (400,)
    assert leader(world).desk.ledger.free_units("n1") == (1000,)
    world.settle()


def test_a_binding_asked_of_a_leader_that_made_no_promise(world: World) -> None:
    """The filter was answered by the former leader: the new one decides for that node, if there is room."""
    place(world, "a", 600)
    pod = create(world, "b", 500)
    node = leader(world).filter(pod)
    assert node == "n1"
    world.elect(Member(world))
    refused = leader(world).finish(leader(world).start_bind(pod, "n0"))
    assert refused == "node n0: 0 of 1 GPUs have 500 units free, 1 needed"
    assert leader(world).finish(leader(world).start_bind(pod, node)) == ""
    world.settle()


def test_a_leader_whose_lease_is_about_to_end_binds_no_more(world: World) -> None:
    work = schedule(world, create(world, "a", 700))
    world.pass_time(8.0)
    assert leader(world).finish(work) == "POST binding: this process leads no longer"
    world.settle()


def test_a_bound_pod_that_went_while_the_watch_was_away(world: World) -> None:
    """Created, bound by us and deleted within the gap: no delta tells of it."""
    assert leader(world).finish(schedule(world, create(world, "a", 700))) == ""
    world.api.delete("default/a")
    leader(world).relist()
    assert leader(world).desk.ledger.free_units("n0") == (300,)
    leader(world).catch_up()
    assert leader(world).desk.ledger.free_units("n0") == (1000,)
    world.settle()


def test_the_answer_comes_after_the_gap_in_which_the_pod_went(world: World) -> None:
    work = schedule(world, create(world, "a", 700))
    leader(world).serve(work)
    world.api.delete("default/a")
    leader(world).relist()
    leader(world).catch_up()
    leader(world).go_on(work)
    assert leader(world).desk.ledger.entries == {}


def test_a_picture_of_a_pod_from_before_its_end_does_not_bring_it_back(world: World) -> None:
    work = schedule(world, create(world, "a", 700))
    leader(world).serve(work)
    time_out(work)
    leader(world).go_on(work)
    leader(world).serve(work)  # reads the pod, bound
    world.api.delete("default/a")
    leader(world).hear()
    leader(world).go_on(work)
    assert leader(world).desk.ledger.entries == {}


def test_several_containers_get_gpus_together_or_not_at_all(world: World) -> None:
    place(world, "a", 600)
    pair = build.pod("p", build.container("x", 600), build.container("y", 500))
    assert leader(world).filter(world.api.create(pair)) is None
    pair = build.pod("q", build.container("x", 500), build.container("y", 500))
    assert leader(world).finish(schedule(world, world.api.create(pair))) == ""
    assert world.api.held_units() == {("n0", "GPU-n0-0"): 600, ("n1", "GPU-n1-0"): 1000}
    world.settle()


def test_an_init_container_counts_by_the_most_and_not_by_the_sum(world: World) -> None:
    place(world, "a", 600)
    pod = build.pod("p", build.container("x", 400), init=(build.container("i", 300), build.container("j", 400)))
    assert leader(world).finish(schedule(world, world.api.create(pod))) == ""
    assert world.api.held_units() == {("n0", "GPU-n0-0"): 1000}
    world.settle()


def test_the_same_share_is_other_memory_on_another_gpu(world: World) -> None:
    small, large = place(world, "a", 1000), place(world, "b", 500)
    key = "framebuffer-mib.vgpu-serve.io/main"
    assert small["metadata"]["annotations"][key] == "16384"
    assert large["metadata"]["annotations"][key] == "16384"


def test_units_of_a_finished_pod_are_free_at_once(world: World) -> None:
    place(world, "a", 600)
    world.api.change("default/a", status={"phase": "Succeeded"})
    leader(world).hear()
    assert leader(world).desk.ledger.free_units("n0") == (1000,)
    world.settle()


def test_a_pod_of_another_scheduler_without_allocation_keeps_fractions_off_its_node(world: World) -> None:
    stray = build.share("stray", 100, uid="s")
    world.api.create(stray)
    world.api.change("default/stray", spec={"nodeName": "n0"})
    leader(world).hear()
    assert leader(world).filter(create(world, "a", 100)) == "n1"
    world.api.delete("default/stray")
    leader(world).hear()
    assert leader(world).filter(create(world, "b", 100), ["n0"]) == "n0"


def test_drift_is_found_told_and_corrected(world: World) -> None:
    """Somebody else writes an allocation and the watch never tells: the books are wrong until they are compared."""
    place(world, "a", 600)
    member = leader(world)
    (uid,) = member.desk.ledger.entries
    member.desk.ledger.gone(uid)
    (difference,) = member.finish(member.start(binding.reconcile(member.desk, world.clock)))
    assert (difference.pod, difference.in_ledger) == ("default/a", None)
    assert member.desk.ledger.free_units("n0") == (400,)
    assert member.finish(member.start(binding.reconcile(member.desk, world.clock))) == ()
