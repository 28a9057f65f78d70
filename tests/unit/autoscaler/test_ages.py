"""How old the oldest reading of each source is."""

from dataclasses import replace

from autoscaler.adapters.ages import Ages
from autoscaler.core.observation import Missing, MissingReason, ReplicaSample, SlotReading, Source
from autoscaler.ports import Tick
from tests import build
from tests.unit.autoscaler import ticks
from tests.unit.autoscaler.ticks import PLAN, SEEN


def at(now_s: float, *, read_s: float, samples: tuple[ReplicaSample, ...] = (), busy: bool = True) -> Tick:
    """A tick at `now_s` whose deployments and pools were read at `read_s`."""
    seen = replace(
        SEEN,
        replicas=samples,
        deployments=tuple(replace(seen, at_s=read_s) for seen in SEEN.deployments),
        pools=tuple(replace(seen, at_s=read_s) for seen in SEEN.pools),
        slots=tuple(SlotReading(slot_id=slot, at_s=now_s, busy_ratio=0.1) for slot in ("n1/0", "n2/0") if busy),
    )
    return ticks.tick(seen=seen, plan=replace(PLAN, at_s=now_s))


def both(at_s: float) -> tuple[ReplicaSample, ...]:
    return build.sample("r1", at_s=at_s), build.sample("f1", at_s=at_s)


def test_everything_that_was_just_read_is_young() -> None:
    assert Ages().oldest_s(at(10.0, read_s=9.0, samples=both(9.5))) == {
        Source.REPLICA: 0.5, Source.SLOT: 0.0, Source.DEPLOYMENT: 1.0, Source.POOL: 1.0,
    }  # fmt: skip


def test_a_replica_or_a_slot_that_went_silent_grows_old() -> None:
    ages = Ages()
    ages.oldest_s(at(10.0, read_s=10.0, samples=both(10.0)))
    silent = ages.oldest_s(at(40.0, read_s=40.0, samples=both(40.0)[:1], busy=False))
    assert (silent[Source.REPLICA], silent[Source.SLOT], silent[Source.POOL]) == (30.0, 30.0, 0.0)


def test_a_replica_that_was_never_read_is_as_old_as_it_was_first_seen() -> None:
    ages = Ages()
    assert ages.oldest_s(at(10.0, read_s=10.0))[Source.REPLICA] == 0.0
    assert ages.oldest_s(at(25.0, read_s=25.0))[Source.REPLICA] == 15.0


def test_a_replica_that_is_gone_is_missed_by_nobody() -> None:
    ages = Ages()
    ages.oldest_s(at(10.0, read_s=10.0, samples=both(10.0)))
    gone = at(60.0, read_s=60.0, samples=both(60.0)[:1])
    gone = replace(gone, seen=replace(gone.seen, deployments=gone.seen.deployments[:1]))
    assert ages.oldest_s(gone)[Source.REPLICA] == 0.0


def test_a_source_with_nothing_to_read_has_no_age() -> None:
    nobody = at(10.0, read_s=10.0)
    nobody = replace(nobody, seen=replace(nobody.seen, deployments=()))
    assert Source.REPLICA not in Ages().oldest_s(nobody)
    assert Source.SLOT not in Ages().oldest_s(nobody)
    assert Source.INGRESS not in Ages().oldest_s(nobody)


def test_a_device_that_cannot_say_is_not_waited_for() -> None:
    ages, mute = Ages(), at(10.0, read_s=10.0, busy=False)
    facts = tuple(Missing(source=Source.SLOT, name=slot, reason=MissingReason.UNSUPPORTED) for slot in ("n1/0", "n2/0"))
    assert Source.SLOT not in ages.oldest_s(replace(mute, seen=replace(mute.seen, missing=facts)))


def test_an_ingress_that_never_answered_is_missed_from_the_first_try() -> None:
    ages = Ages()
    gap = Missing(source=Source.INGRESS, name="minilm", reason=MissingReason.UNREACHABLE)

    def silent(now_s: float) -> Tick:
        tick = at(now_s, read_s=now_s)
        return replace(tick, seen=replace(tick.seen, missing=(gap,)))

    assert ages.oldest_s(silent(10.0))[Source.INGRESS] == 0.0
    assert ages.oldest_s(silent(30.0))[Source.INGRESS] == 20.0
    heard = at(40.0, read_s=40.0)
    heard = replace(heard, seen=replace(heard.seen, ingress=(build.ingress(3, 39.0),)))
    assert ages.oldest_s(heard)[Source.INGRESS] == 1.0


def test_a_model_that_ray_does_not_have_is_no_missing_reading() -> None:
    tick = at(10.0, read_s=10.0)
    undecided = Missing(source=Source.DEPLOYMENT, name="filetype", reason=MissingReason.NOT_SEEN)
    assert tick.plan is not None
    ages, absent = Ages(), replace(tick.plan, decisions=tick.plan.decisions[:1], undecided=(undecided,))

    def without(now_s: float) -> Tick:
        tick = at(now_s, read_s=now_s)
        seen = replace(tick.seen, deployments=tick.seen.deployments[:1])
        return replace(tick, seen=seen, plan=replace(absent, at_s=now_s))

    ages.oldest_s(without(10.0))
    assert ages.oldest_s(without(50.0))[Source.DEPLOYMENT] == 0.0


def test_a_tick_that_came_to_no_plan_tells_no_age() -> None:
    assert Ages().oldest_s(ticks.failed()) == {}


def test_a_ray_that_never_answered_is_missed_from_the_first_try() -> None:
    ages = Ages()
    gaps = tuple(
        Missing(source=Source.DEPLOYMENT, name=name, reason=MissingReason.UNREACHABLE)
        for name in ("minilm", "filetype")
    )

    def silent(now_s: float) -> Tick:
        tick = at(now_s, read_s=now_s)
        plan = replace(PLAN, at_s=now_s, decisions=(), undecided=gaps)
        return replace(tick, seen=replace(tick.seen, deployments=(), missing=gaps), plan=plan)

    assert ages.oldest_s(silent(10.0))[Source.DEPLOYMENT] == 0.0
    assert ages.oldest_s(silent(70.0))[Source.DEPLOYMENT] == 60.0
