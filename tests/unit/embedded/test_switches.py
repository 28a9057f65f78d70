"""The switcher's file as `up` hands it on: completed, compared with the cards, and followed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.embedded import switches
from autoscaler.embedded.fleet import Card, Fleet
from autoscaler.embedded.switches import SwitchesError, SwitchesFile, check, complete
from autoscaler.refusal import Refused

FLEET = Fleet(
    cards=(
        Card(profile="v100-4q-4GB", nodes=("n1", "n2"), gpu="gpu-a"),
        Card(profile="v100-16q-16GB", nodes=("n3",), gpu="gpu-a", powered=False),
        Card(profile="v100-8q-8GB", nodes=("n4",)),
    )
)
URL, TOKEN_FILE = "http://127.0.0.1:7000", Path("/scratch/token")
QUARTER = {"profile": "v100-4q-4GB"}


def document(**given: Any) -> dict[str, Any]:
    return {
        "time_zone": "Europe/Berlin",
        "gpus": {"gpu-a": {"board": "v100", "provider": "here"}},
        "layouts": {
            "day": {"gpu-a": [{"node": "n1", **QUARTER}, {"node": "n2", **QUARTER}]},
            "night": {"gpu-a": [{"node": "n3", "profile": "v100-16q-16GB"}]},
        },
        "providers": {"here": {"kind": "emulated"}},
        **given,
    }


def written(directory: Path, given: dict[str, Any] | str) -> Path:
    path = directory / "mine.yaml"
    path.write_text(given if isinstance(given, str) else yaml.safe_dump(given))
    return path


def problems(directory: Path, given: dict[str, Any] | str) -> list[str]:
    path = written(directory, given)
    with pytest.raises(SwitchesError) as caught:
        check(path, FLEET)
    assert isinstance(caught.value, Refused)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]


def test_an_emulated_provider_is_told_where_it_is_and_nothing_else_changes() -> None:
    given = document(providers={"here": {"kind": "emulated"}, "lab": {"kind": "libvirt", "uri": "qemu:///system"}})
    completed = yaml.safe_load(complete(yaml.safe_dump(given), url=URL, token_file=TOKEN_FILE))
    given["providers"]["here"] |= {"url": URL, "token_file": str(TOKEN_FILE)}
    assert completed == given


def test_what_a_provider_says_itself_is_kept() -> None:
    given = document(providers={"here": {"kind": "emulated", "url": "http://127.0.0.1:1", "token_file": "/t"}})
    assert yaml.safe_load(complete(yaml.safe_dump(given), url=URL, token_file=TOKEN_FILE)) == given


@pytest.mark.parametrize("text", ["", "[1, 2", "just words", "providers: 3", "providers: {here: emulated}", "- 1"])
def test_what_is_no_such_document_stays_as_it_is_written(text: str) -> None:
    assert complete(text, url=URL, token_file=TOKEN_FILE) == text


def test_a_file_that_suits_the_cards_is_accepted(tmp_path: Path) -> None:
    check(written(tmp_path, document()), FLEET)


def test_layouts_are_compared_with_the_cards(tmp_path: Path) -> None:
    layouts = {
        "day": {"gpu-a": [{"node": "n4", **QUARTER}]},
        "dusk": {"gpu-a": [{"node": "n1", "profile": "v100-8q-8GB"}, {"node": "n9", "profile": "v100-8q-8GB"}]},
        "night": {"gpu-a": [{"node": "n3", "profile": "v100-16q-16GB", "machine": "vm-3"}]},
    }
    assert problems(tmp_path, document(layouts=layouts)) == [
        "layouts.day.gpu-a: the fleet has no node n4 on gpu gpu-a; it has n1, n2, n3",
        "layouts.dusk.gpu-a: n1 is v100-4q-4GB in the fleet; write that, or change the fleet",
        "layouts.dusk.gpu-a: the fleet has no node n9 on gpu gpu-a; it has n1, n2, n3",
        "layouts.night.gpu-a: an emulated machine has its node's name; leave out machine: vm-3",
    ]


def test_a_gpu_that_the_fleet_does_not_have_is_named(tmp_path: Path) -> None:
    given = document(gpus={"gpu-b": {"board": "v100", "provider": "here"}}, layouts={"day": {"gpu-b": [
        {"node": "n1", **QUARTER}
    ]}})  # fmt: skip
    assert problems(tmp_path, given) == [
        "layouts.day.gpu-b: the fleet has no node n1 on gpu gpu-b; it has no such gpu",
    ]


def test_what_the_switcher_would_refuse_is_refused_before_anything_starts(tmp_path: Path) -> None:
    assert any("kind" in problem for problem in problems(tmp_path, document(providers={"here": {"kind": "magic"}})))
    assert problems(tmp_path, "[1, 2")[0].startswith("not YAML")
    with pytest.raises(SwitchesError, match="give a readable switcher's file"):
        check(tmp_path / "none.yaml", FLEET)


def test_the_copy_follows_the_original(tmp_path: Path) -> None:
    original, copy = written(tmp_path, document()), tmp_path / "copy.yaml"
    file = SwitchesFile(original=original, copy=copy, url=URL, token_file=TOKEN_FILE)
    file.write()
    first = copy.read_text()
    assert yaml.safe_load(first)["providers"]["here"]["url"] == URL
    assert (file.follow(), copy.read_text()) == (False, first)
    written(tmp_path, document(time_zone="Europe/Vienna"))
    assert file.follow()
    assert yaml.safe_load(copy.read_text())["time_zone"] == "Europe/Vienna"
    # What is wrong with it the switcher says, which keeps what it had.
    written(tmp_path, "[1, 2")
    assert (file.follow(), copy.read_text()) == (True, "[1, 2")
    original.unlink()
    assert (file.follow(), copy.read_text()) == (False, "[1, 2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.yaml"]


def test_the_kind_is_the_one_that_the_switcher_knows() -> None:
    assert switches.EMULATED == "emulated"
