"""Every refusal in both of its shapes; tests/goldens/serving/refusals.json is what clients rely on."""

import json
from pathlib import Path

import pytest

from serving import errors
from serving.errors import ApiError

GOLDEN = Path(__file__).parents[2] / "goldens" / "serving" / "refusals.json"
REFUSALS = (
    errors.malformed("inputs: expected a list", field="inputs"),
    errors.malformed("body is not JSON", field=None),
    errors.invalid_input("text: has no rows", field="text"),
    errors.unknown_model("nobody", ("minilm", "filetype")),
    errors.unknown_model("nobody", ()),
    errors.unknown_path("/v3"),
    errors.method_not_allowed("PUT", "/v2"),
    errors.too_large("the body has 9 bytes; at most 8"),
    errors.queue_full(64, 2),
    errors.deadline_passed(250),
    errors.device_lost("the device is lost"),
    errors.out_of_memory("the batch does not fit the slot: framebuffer exhausted"),
    errors.no_capacity("minilm"),
    errors.stopping(),
    errors.replica_lost(),
    errors.internal(),
)


def test_every_refusal_keeps_its_two_shapes() -> None:
    shapes = [
        {
            "status": refusal.status,
            "headers": refusal.headers,
            "v2": refusal.as_v2(),
            "openai": refusal.as_openai(),
        }
        for refusal in REFUSALS
    ]
    assert shapes == json.loads(GOLDEN.read_text())


def test_every_reason_has_a_refusal() -> None:
    assert {refusal.reason for refusal in REFUSALS} == set(errors.Refusal)


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_a_refusal_is_read_back_from_its_v2_shape(refusal: ApiError) -> None:
    copy = errors.from_v2(refusal.status, json.loads(json.dumps(refusal.as_v2())))
    assert copy is not None
    assert (copy.status, copy.as_v2(), copy.as_openai()) == (refusal.status, refusal.as_v2(), refusal.as_openai())


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "error",
        {},
        {"error": {"message": "OpenAI's"}},
        {"error": "no reason"},
        {"error": "x", "reason": "odd"},
    ],
)
def test_documents_that_are_no_refusal_of_ours_are_left_alone(document: object) -> None:
    assert errors.from_v2(503, document) is None


def test_a_refusal_prints_as_its_message() -> None:
    assert str(errors.queue_full(64, 2)) == "64 rows are waiting already; retry in 2 s"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("short", "'short'"),
        ("x" * 1000, "'" + "x" * 64 + "…'"),
        ("\ud800", r"'\ud800'"),
        (["x"] * 1000, "a list of 1000"),
        ({"a": 1}, "an object"),
        (None, "'None'"),
        (1.5, "'1.5'"),
    ],
)
def test_what_a_client_sent_is_repeated_shortly(value: object, said: str) -> None:
    assert errors.quoted(value) == said
