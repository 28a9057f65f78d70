"""Models files with and without faults, and what only their readers can refuse."""

import math
import re
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from autoscaler import config as autoscaler_config
from serving import config as serving_config

Json = Any
# What compares two places of a file, or is more than a pattern can say. Each has an example in test_values_schema.py.
BEYOND = (
    re.compile(r"max_replicas is \d+; at least min_replicas"),
    re.compile(r"no slot type of this file has that board"),
    re.compile(r"are the same slot type; name it once"),
    re.compile(r"a model takes one size of fraction; name one"),
    re.compile(r"recent_s is .*, at most window_s"),
    re.compile(r"is none of (the )?tenants"),
    re.compile(r"the max_replicas of its models are \d+ together"),
    re.compile(r"the URL behind 'onnx:' has no host, or a wrong port"),
)

SLOTS = (
    *(
        "v100-8q-8GB",
        "V100-8Q",
        "GRID V100-8Q",
        "nvidia_a100-1-5CME",
        "a100d-10c-10GB",
        "rtx6000-ada-8q-8GB",
        "v100-0b-512MB",
    ),
    *("fraction:500", "fraction-250", "Fraction:0100", "fraction:1000", " l4-24c ", "v100-8q-8192mb", "h200-7-141c"),
)
WRONG_SLOTS = (
    *(
        "v100-8q-16GB",
        "v100-32q",
        "v100",
        "",
        "fraction",
        "fraction:0",
        "fraction:1001",
        "fraction:0000500",
        "z9-8q-8GB",
    ),
    *(
        "v100-1-8q",
        "a100-9-5c",
        "a100-8-5c",
        "v100-8qme",
        "a100-1-1c",
        "v100-08q",
        "v100-8x",
        "grid-grid-v100-8q",
        "8q",
    ),
)
SOURCES = (
    *("synthetic", "file_type", "python:shop.models:Price", "python:a:b", "onnx:/models/price.onnx", "onnx:/"),
    *(
        "onnx:https://example.com/m.onnx",
        "onnx:https://u:p@example.com:8443/m.onnx?x=1#y",
        "onnx:http://localhost:80/m",
    ),
)
WRONG_SOURCES = (
    *("", "File", "a-b", "python:", "python:a", "python:a:b:c", "python:1a:b", "python:a.:b", "onnx:", "onnx:m.onnx"),
    *("onnx:http://example.com/m.onnx", "onnx:https://", "onnx:ftp://example.com/m", "onnx:https:///m", "onnx:https:m"),
)
_JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 0.5, 1.0, -0.5, 1001, 100_000, 600_000, 600_001, 1 << 20, (1 << 30) + 1, 3_600_001]),
    st.sampled_from(["", "8", "yes", "1.0", "model", *SLOTS, *WRONG_SLOTS, *SOURCES, *WRONG_SOURCES]),
    st.sampled_from([[], {}, ["v100-8q-8GB"], ["fraction:500", "v100-8q-8GB"], [1], {"a": 1}, [None]]),
    st.integers(-(1 << 50), 1 << 50),
    st.floats(1e-6, 1e15),
)
_NUMBERS = {
    "objective_p95_ms": st.integers(1, 600_000),
    "replicas": st.integers(0, 1000),
    "max_batch_size": st.integers(1, 1024),
    "max_wait_ms": st.floats(1e-6, 1000) | st.integers(0, 1000),
    "max_queue": st.integers(1, 100_000),
    "max_body_bytes": st.integers(1024, 1 << 30),
    "max_deadline_ms": st.floats(1e-6, 3_600_000),
    "min_replicas": st.integers(0, 3),
    "max_replicas": st.integers(3, 9),
    "idle_s": st.floats(1e-6, 1e6) | st.none(),
    "priority": st.integers(-(1 << 40), 1 << 40) | st.none(),
    "target_in_flight": st.floats(1e-6, 1e6),
    "target_utilization_ratio": st.floats(1e-6, 1),
    "scale_down_window_s": st.integers(0, 10_000) | st.none(),
}


def _some(*names: str) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional={name: _NUMBERS[name] for name in names})


MODELS = st.builds(
    lambda rest, source: {**source, **rest},
    st.fixed_dictionaries(
        {
            "slot": st.sampled_from(SLOTS)
            | st.sampled_from([["v100-8q-8GB", "a100d-10c-10GB"], ["fraction:500", "l4-8c"]]),
            "objective_p95_ms": _NUMBERS["objective_p95_ms"],
        },
        optional={
            "parameters": st.just({"any": [1, "thing"]}),
            "replicas": _NUMBERS["replicas"],
            "serving": _some("max_batch_size", "max_wait_ms", "max_queue", "max_body_bytes", "max_deadline_ms"),
            "autoscaling": _some("min_replicas", "idle_s", "priority", "target_in_flight", "target_utilization_ratio")
            | _some("min_replicas", "max_replicas", "scale_down_window_s"),
            "tenant": st.sampled_from(["shop", "search"]),
        },
    ),
    st.builds(lambda key, source: {key: source}, st.sampled_from(["source", "kind"]), st.sampled_from(SOURCES)),
)
_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
SETTINGS = {
    "policy": ("window_s", "recent_s", "least_requests", "calm_ratio", "tolerance_ratio", "drain_s", "saturated_ratio"),
    "guardrails": ("settle_up_s", "step_up_ratio", "step_up_count", "step_down_part", "pending_timeout_s"),
}


@st.composite
def documents(draw: st.DrawFn) -> Json:
    """A models file with up to two faults, or what may be one."""
    document: Json = {"models": deepcopy(draw(st.dictionaries(_NAMES, MODELS, min_size=1, max_size=2)))}
    document["tenants"] = {"shop": {"max_slots": 100}, "search": {"max_slots": 100}}
    if draw(st.booleans()):
        document["card_costs"] = {draw(st.sampled_from(["v100", "a100d", "fraction", "z9", "V100"])): draw(_JUNK)}
    for section, names in SETTINGS.items():
        document[section] = {
            name: draw(st.sampled_from([0, 0.5, 1, 2, 5.0, -1, 0.99, 1.5]))
            for name in draw(st.sets(st.sampled_from(names), max_size=2))
        }
    for _ in range(draw(st.integers(0, 2))):
        _spoil(draw, document)
    return document


def _spoil(draw: st.DrawFn, document: Json) -> None:
    """Change, remove or add one key at any depth."""
    holder = draw(st.sampled_from(_holders(document)))
    known = [
        *holder,
        *_NUMBERS,
        "source",
        "kind",
        "slot",
        "parameters",
        "serving",
        "autoscaling",
        "tenant",
        "max_slots",
    ]
    key = draw(st.sampled_from(sorted({*known, "misspelt", "name", "Upper", "gateway", "policy"})))
    if key in holder and draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = deepcopy(draw(_JUNK | MODELS))  # what is drawn is drawn again, and a holder here


def _holders(value: Json) -> list[Json]:
    if not isinstance(value, dict):
        return []
    return [value, *(inner for entry in value.values() for inner in _holders(entry))]


def as_helm_writes(value: Json) -> Json:
    """Numbers pass through Helm as JSON: 200.0 comes out as 200."""
    if isinstance(value, dict):
        return {key: as_helm_writes(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [as_helm_writes(entry) for entry in value]
    return int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value


def problems(document: Json) -> list[str]:
    """Every problem that one of the two readers has with a models file."""
    found = []
    for read, refused in (
        (serving_config.parse, serving_config.ConfigError),
        (autoscaler_config.parse, autoscaler_config.ConfigError),
    ):
        try:
            read(as_helm_writes(document))
        except refused as error:
            found += str(error).splitlines()
    return found


def is_beyond(problem: str) -> bool:
    """No schema can say it."""
    return any(pattern.search(problem) for pattern in BEYOND)
