"""The fault switch does what a test asks of it, to the requests it names, as often as it says."""

from autoscaler.embedded.apiserver.faults import Faults


def test_the_next_requests_of_a_verb_on_a_kind_are_refused_and_then_no_more() -> None:
    faults = Faults()
    faults.refuse(500, times=2, verb="list", plural="pods")
    codes = []
    for verb, plural in (("list", "nodes"), ("list", "pods"), ("get", "pods"), ("list", "pods"), ("list", "pods")):
        _, refusal = faults.take(verb, plural)
        codes.append(refusal and (refusal.code, refusal.reason))
    assert codes == [None, (500, "InternalError"), None, (500, "InternalError"), None]
    assert faults.seen == {("list", "nodes"): 1, ("list", "pods"): 3, ("get", "pods"): 1}


def test_slow_answers_and_refusals_add_up() -> None:
    faults = Faults()
    faults.delay(0.25)
    faults.refuse(429, retry_after_s=3)
    delay_s, refusal = faults.take("watch", "pods")
    assert refusal is not None
    assert (delay_s, refusal.reason, refusal.retry_after_s) == (0.25, "TooManyRequests", 3)


def test_clearing_ends_all_faults() -> None:
    faults = Faults()
    faults.refuse(500, times=9)
    faults.drop_watches(1)
    faults.take("get", "pods")
    faults.clear()
    assert faults.take("get", "pods") == (0.0, None)
    assert faults.watch_limit() is None
    assert faults.seen == {("get", "pods"): 1}
