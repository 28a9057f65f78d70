"""What an observation finds by name, and that looking leaves no trace in it."""

from autoscaler.core.observation import IngressSample, Missing, MissingReason, Observation, Source
from autoscaler.core.plain import as_json_value
from autoscaler.core.record import replace

STALE = Missing(source=Source.SLOT, name="n1/0", reason=MissingReason.STALE)
LATER = Missing(source=Source.SLOT, name="n1/0", reason=MissingReason.UNSUPPORTED)
FIRST = IngressSample(model="a", at_s=0.0, unanswered=1)
SECOND = IngressSample(model="a", at_s=0.0, unanswered=2)


def seen() -> Observation:
    return Observation(ingress=(FIRST, SECOND), missing=(STALE, LATER))


def test_of_several_under_one_name_the_first_is_found() -> None:
    assert seen().ingress_of("a", now_s=0.0, max_age_s=1.0) == FIRST
    assert seen().why_missing(Source.SLOT, "n1/0") == STALE


def test_what_nobody_gave_a_reason_for_was_not_seen() -> None:
    other = Missing(source=Source.REPLICA, name="n1/0", reason=MissingReason.NOT_SEEN)
    assert seen().why_missing(Source.REPLICA, "n1/0") == other
    assert seen().ingress_of("b", now_s=0.0, max_age_s=1.0) == replace(other, source=Source.INGRESS, name="b")


def test_looking_leaves_no_trace() -> None:
    asked, other = seen(), seen()
    assert asked.names is asked.names
    assert (asked, hash(asked), repr(asked), as_json_value(asked)) == (
        other,
        hash(other),
        repr(other),
        as_json_value(other),
    )
    assert replace(asked, missing=()).why_missing(Source.SLOT, "n1/0").reason is MissingReason.NOT_SEEN
