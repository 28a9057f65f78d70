"""YAML as every process reads it: a key twice is refused, 1e-06 is a number, the rest is PyYAML's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu import yaml_document
from vgpu.yaml_document import NotYaml

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["1e-06", "=", "<<", "on"])
    | st.dates()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@given(VALUES)
def test_what_is_written_is_read_back(value: object) -> None:
    assert yaml_document.load(yaml_document.dump(value)) == value


def test_a_text_that_looks_like_a_number_stays_text() -> None:
    assert yaml_document.dump({"b": "1e-06", "a": 1e-06}) == "b: '1e-06'\na: 1.0e-06\n"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1e-06", 1e-06),
        ("-2e-08", -2e-08),
        ("1E+5", 100000.0),
        ("1e21", 1e21),
        ("1.5e-07", 1.5e-07),
        ("'1e-06'", "1e-06"),
        ("1e5f", "1e5f"),
        ("0x1e5", 0x1E5),
        ("{a: =}", {"a": "="}),
        ("{a: <<}", {"a": "<<"}),
        ("", None),
    ],
)
def test_scalars(text: str, read: object) -> None:
    found = yaml_document.load(text)
    assert (found, type(found)) == (read, type(read))


def test_merged_keys_may_be_given_anew() -> None:
    text = "usual: &usual {a: 1, b: 2}\nmine:\n  <<: *usual\n  a: 3\n"
    assert yaml_document.load(text) == {"usual": {"a": 1, "b": 2}, "mine": {"a": 3, "b": 2}}


def test_an_integer_and_a_text_are_two_keys() -> None:
    assert yaml_document.load("{1: a, '1': b}") == {1: "a", "1": "b"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"models:\n  a: {}\n  b: {}\n  a: {}\n", "the key 'a' is given twice; remove one of them in"),
        (b"{on: 1, true: 2}", "the key 'true' is given twice; remove one of them in"),
        (b"models: [", "while parsing"),
        (b"\xff\xfe\x00", "codec can't decode"),
        (b"a: 2001-13-01", "month must be in 1..12"),
        (b"a: " + b"9" * 5000, "integer string conversion"),
        (b"[" * 5000, "not YAML: "),
        (b"{[1]: 2}", "unhashable key"),
    ],
)
def test_what_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(NotYaml, match="not YAML: ") as refused:
        yaml_document.load(content)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_key_given_twice_is_refused_with_its_line() -> None:
    with pytest.raises(NotYaml, match="line 4, column 3"):
        yaml_document.load("models:\n  a: {}\n  b: {}\n  a: {}\n")
