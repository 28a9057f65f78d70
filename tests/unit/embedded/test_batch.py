"""Training pods: which of their options are run, and that nothing else is."""

from pathlib import Path
from typing import Any

import pytest

from autoscaler.embedded import batch
from autoscaler.embedded.slots import Unfit

VOLUME = Path("/run/checkpoints")


def pod(*words: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "train", "command": ["python", "-m", "models.training"], "args": words}
    return {"metadata": {"name": "training"}, "spec": {"containers": [container], **spec}}


def test_the_checkpoint_lies_in_the_folder_that_plays_the_volume() -> None:
    asked = pod("--steps", "500", "--checkpoint=/checkpoints/nightly.npz", "--seed", "7", "--checkpoint-every=20")
    assert batch.is_training(asked)
    assert batch.arguments(asked, VOLUME) == [
        "--steps", "500", "--checkpoint", "/run/checkpoints/nightly.npz", "--seed", "7", "--checkpoint-every", "20",
    ]  # fmt: skip


def test_options_may_stand_in_the_command_too() -> None:
    asked = {"spec": {"containers": [{"command": ["python", "-m", "models.training", "--steps=1"]}]}}
    assert (batch.is_training(asked), batch.arguments(asked, VOLUME)) == (True, ["--steps", "1"])


@pytest.mark.parametrize(
    "words",
    [
        ("--steps", "many"),
        ("--steps=-1",),
        ("--checkpoint", "/etc/passwd"),
        ("--checkpoint", "/checkpoints/../up.json"),
        ("--checkpoint", "/checkpoints/a/b"),
        ("--checkpoint", "/checkpoints/.hidden"),
        ("--config", "x"),
        ("steps", "1"),
    ],
)
def test_what_is_not_on_the_list_is_refused_with_the_list(words: tuple[str, ...]) -> None:
    with pytest.raises(Unfit, match="and --checkpoint-every N and --checkpoint /checkpoints/NAME only"):
        batch.arguments(pod(*words), VOLUME)


def test_an_option_without_its_value_is_named() -> None:
    with pytest.raises(Unfit, match="--steps has no value; write OPTION VALUE or OPTION=VALUE"):
        batch.arguments(pod("--steps"), VOLUME)


@pytest.mark.parametrize("spec", [{"restartPolicy": "Never"}, {"initContainers": [{"name": "first"}]}])
def test_what_the_kubelet_does_not_play_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(Unfit, match="without init containers, restartPolicy Always or OnFailure"):
        batch.arguments(pod("--steps", "1", **spec), VOLUME)


def test_only_its_own_command_makes_a_pod_a_training() -> None:
    others = [["python", "-m", "models.measure"], ["ray", "start"], ["python3", "-m", "models.training"], []]
    found = [batch.is_training({"spec": {"containers": [{"command": command}]}}) for command in others]
    two = {"spec": {"containers": 2 * pod()["spec"]["containers"]}}
    assert [*found, batch.is_training(two)] == [False] * 5


def test_a_pod_may_finish_where_it_says_so() -> None:
    assert [batch.may_finish(pod("--steps", "1")), batch.may_finish(pod(restartPolicy="OnFailure"))] == [False, True]
