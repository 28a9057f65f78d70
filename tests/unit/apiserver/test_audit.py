"""The record of requests."""

from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.audit import Audit, Record

_READ = Attributes(verb="get", group="apps", resource="deployments", namespace="x", name="d", path="/apis/apps/v1/...")


def _record(user: str, code: int) -> Record:
    about = {
        "verb": "get",
        "group": "apps",
        "resource": "deployments",
        "subresource": "",
        "namespace": "x",
        "name": "d",
    }
    return Record(user=user, path="", code=code, **about)


def test_the_newest_are_kept_oldest_first_and_can_be_asked_for_by_user() -> None:
    audit = Audit(kept=2)
    for user, code in (("a", 200), ("b", 403), ("a", 404)):
        audit.add(user, _READ, code)
    assert audit.records() == (_record("b", 403), _record("a", 404))
    assert audit.records("a") == (_record("a", 404),)
    audit.clear()
    assert audit.records() == ()


def test_a_path_is_kept_where_no_kind_is_meant() -> None:
    audit = Audit()
    audit.add("a", Attributes(verb="get", path="/version"), 200)
    assert [(record.path, record.resource) for record in audit.records()] == [("/version", "")]
    assert audit.as_json()["items"][0]["path"] == "/version"
