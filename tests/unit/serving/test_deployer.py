"""The deployer against a Ray that goes away, loses everything and refuses; time is given."""

import itertools
import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from serving import deployer_metrics
from serving.changes import Delete, Deploy
from serving.config import GATEWAY
from serving.deployed import State
from serving.deployer import QUIET_S, Deployer, checker, in_short
from tests.unit.serving.ray_applications import FakeRay

ONE = "  one: {kind: synthetic, slot: v100-8q-8GB, objective_p95_ms: 200}\n"
TWO = "  two: {kind: synthetic, slot: v100-8q-8GB, objective_p95_ms: 300}\n"


@dataclass(slots=True)
class Desk:
    """A deployer with its file and a Ray, and a clock that the test turns."""

    file: Path
    ray: FakeRay = field(default_factory=FakeRay)
    problems: list[str] = field(default_factory=list)
    loaded: list[list[str]] = field(default_factory=list)
    during_check: str | None = None
    now_s: float = 0.0
    deployer: Deployer = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start the deployer, or start it anew."""
        self.deployer = Deployer(
            file=self.file,
            session=self.ray,
            check=self._check,
            metrics=deployer_metrics.create(),
            jitter=lambda: 0.0,
            room_patience_s=60,
        )

    def write(self, *models: str) -> None:
        self.file.write_text("models:\n" + "".join(models))

    def run(self, seconds: int = 1) -> list[str]:
        """Let it step once a second; what Ray was handed meanwhile, in words."""
        self.ray.handed.clear()
        for _ in range(seconds):
            self.now_s += 1
            self.deployer.step(self.now_s)
        return [f"-{step.name}" if isinstance(step, Delete) else f"{step.name} {step.how}" for step in self.ray.handed]

    def told(self, name: str, **labels: str) -> float | None:
        return self.deployer.metrics.registry.get_sample_value(f"vgpu_serve_deployer_{name}", labels)

    def results(self) -> tuple[float | None, float | None, float | None]:
        """Whether the file is refused; how often one was applied and refused."""
        changes = [self.told("changes_total", result=result) for result in ("applied", "refused")]
        return self.told("file_refused"), changes[0], changes[1]

    def _check(self, load: Collection[str]) -> Sequence[str]:
        self.loaded.append(list(load))
        if self.during_check is not None:
            self.write(self.during_check)
            self.during_check = None
        return list(self.problems)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path / "models.yaml")
    made.write(ONE)
    return made


def test_the_first_file_is_deployed_without_loading_its_models_and_then_left_alone(desk: Desk) -> None:
    assert desk.deployer.not_ready() == "no models file could be taken up yet"
    assert desk.run() == ["one new", f"{GATEWAY} new"]
    assert (desk.loaded, desk.results(), desk.deployer.not_ready()) == ([[]], (0, 1, 0), "")
    assert desk.run(600) == []
    assert desk.ray.reads <= 2 + 600 / QUIET_S
    assert desk.told("applications", state="running") == 2


def test_a_changed_file_is_applied_within_seconds_and_only_what_changes_is_loaded(desk: Desk) -> None:
    desk.write(ONE, TWO)
    desk.run(10)
    desk.write(ONE, TWO.replace("300", "250"), TWO.replace("two", "three"))
    assert desk.run(1) == ["two live", "three new", f"{GATEWAY} live"]
    assert desk.loaded[-1] == ["two", "three"]
    desk.write(TWO.replace("300", "250"))
    assert desk.run(2) == [f"{GATEWAY} live", "-one", "-three"]
    assert desk.results() == (0, 3, 0)


def test_a_deployer_that_starts_anew_touches_nothing_that_is_as_it_should_be(desk: Desk) -> None:
    desk.run(10)
    desk.ray.scale("one", 4)
    desk.begin()
    assert desk.run(10) == []
    assert desk.deployer.not_ready() == ""
    desk.begin()
    desk.write(ONE, TWO)
    assert desk.run(1) == ["two new", f"{GATEWAY} live"]
    assert desk.loaded[-1] == ["two"]


@pytest.mark.parametrize("text", ["objective_p95_ms: 0", "objective_p95_ms: 200, colour: red", "objective_p95_ms: ["])
def test_a_file_that_cannot_be_read_changes_nothing_until_it_changes(
    desk: Desk, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk.run(10)
    desk.write(ONE.replace("objective_p95_ms: 200", text))
    assert desk.run(30) == []
    assert desk.results() == (1, 1, 1)
    assert desk.deployer.not_ready() == ""
    refusals = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert refusals[0].startswith(f"refused: {desk.file}: ")
    assert refusals[1:] == [f"refused: {desk.file} changes nothing until it is corrected"]
    desk.write(ONE.replace("200", "100"))
    assert desk.run(2) == ["one live"]
    assert desk.results() == (0, 2, 1)


def test_a_model_that_does_not_load_refuses_the_whole_file(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.run(10)
    desk.problems = ["models.two: weights missing; install them"]
    desk.write(TWO)
    assert desk.run(30) == []
    assert (desk.loaded[-1], len(desk.loaded)) == (["two"], 2)
    assert desk.results() == (1, 1, 1)
    assert "refused: models.two: weights missing; install them" in caplog.text
    desk.problems = []
    desk.write(ONE)
    assert desk.run(2) == []
    assert desk.results() == (0, 2, 1)


def test_a_file_that_changes_while_it_is_checked_is_checked_again(desk: Desk) -> None:
    desk.run(10)
    desk.write(TWO)
    desk.during_check = ONE.replace("200", "150")
    assert desk.run(10) == ["one live"]
    assert desk.loaded[1:] == [["two"], ["one"]]


def test_a_file_that_is_gone_changes_nothing_and_a_volumes_swapped_link_is_seen(tmp_path: Path) -> None:
    for name, text in (("..1", ONE), ("..2", ONE.replace("200", "100"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "models.yaml").write_text("models:\n" + text)
    link, file = tmp_path / "..data", tmp_path / "models.yaml"
    link.symlink_to("..1")
    file.symlink_to("..data/models.yaml")
    desk = Desk(file)
    desk.run(10)
    file.unlink()
    assert desk.run(10) == []
    assert desk.results() == (1, 1, 1)
    file.symlink_to("..data/models.yaml")
    (tmp_path / "..new").symlink_to("..2")
    os.replace(tmp_path / "..new", link)
    assert desk.run(2) == ["one live"]


def test_what_ray_has_lost_is_deployed_again(desk: Desk) -> None:
    desk.run(10)
    desk.ray.applications.clear()
    assert desk.run(6) == ["one new", f"{GATEWAY} new"]
    del desk.ray.applications["one"]
    assert desk.run(6) == ["one new"]


def test_while_ray_is_away_it_is_asked_less_and_less_often_and_again_at_once_when_it_is_back(desk: Desk) -> None:
    desk.run(10)
    desk.ray.away = "no answer from Ray within 60 s"
    asked = []
    for second in range(300):
        before = desk.ray.reads
        assert desk.run(1) == []
        asked += [second] if desk.ray.reads > before else []
    pauses = [after - before for before, after in itertools.pairwise(asked)]
    assert pauses[:5] == [1, 2, 4, 8, 16]
    assert set(pauses[5:]) == {30}
    assert desk.deployer.not_ready() == "Ray is away"
    desk.ray.away = ""
    desk.ray.applications.clear()
    assert desk.run(31) == ["one new", f"{GATEWAY} new"]
    assert desk.deployer.not_ready() == ""


def test_one_answer_that_is_missing_makes_nothing_unready(desk: Desk) -> None:
    desk.run(10)
    desk.ray.away = "no answer from Ray within 60 s"
    desk.run(3)
    assert desk.deployer.not_ready() == ""
    desk.ray.away = ""
    desk.run(2)
    desk.ray.away = "gone"
    desk.run(12)
    assert desk.deployer.not_ready() == "Ray is away"


def test_the_pauses_are_shortened_at_random_so_that_several_do_not_come_at_once(desk: Desk) -> None:
    desk.deployer.jitter = lambda: 1.0
    desk.ray.away = "gone"
    reads = 0
    for _ in range(60):
        desk.run(1)
        reads = desk.ray.reads
    # After 1, 1, 2, 4, 8, 15 and 15 s; steps are a second apart.
    assert reads == 8


def test_an_application_that_fails_is_told_once_and_holds_up_no_other(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.ray.fails = {"one"}
    desk.run(20)
    assert desk.told("applications", state="deploy_failed") == 1
    failures = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert failures == [
        f"one could not be deployed: its constructor failed; correct the model or its entry in {desk.file}"
    ]
    assert desk.deployer.not_ready() == ""
    desk.ray.fails = set()
    desk.write(ONE.replace("synthetic", "file_type"), TWO)
    assert desk.run(1) == ["one rolling", "two new", f"{GATEWAY} live"]
    assert desk.ray.applications["one"].state is State.RUNNING


def test_a_model_that_never_started_is_tried_again_less_and_less_often(desk: Desk) -> None:
    desk.write(ONE, TWO)
    desk.ray.fails = {"one"}
    desk.ray.stops = {"one"}
    desk.run(2)
    tries = []
    for second in range(3600):
        if steps := desk.run(1):
            assert steps in (["-one"], ["one new"])
            tries += [second] if steps == ["-one"] else []
    pauses = [after - before for before, after in itertools.pairwise([0, *tries])]
    assert all(
        abs(pause - expected) < 2 * QUIET_S for pause, expected in zip(pauses, (60, 120, 240, 480), strict=False)
    )
    assert pauses[4:] == [pytest.approx(600, abs=2 * QUIET_S)] * 4
    desk.ray.fails, desk.ray.stops = set(), set()
    desk.run(620)
    assert desk.ray.applications["one"].state is State.RUNNING
    assert desk.run(1200) == []


def test_a_model_that_fails_as_it_is_woken_is_told_and_tried_again(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.run(10)
    asleep = desk.ray.applications["one"]
    desk.ray.applications["one"] = replace(asleep, state=State.UNHEALTHY, message="no room", target=1, replicas=0)
    assert desk.run(55) == []
    assert "one could not be deployed: no room; correct the model" in caplog.text
    assert desk.run(15) == ["-one", "one new"]


def test_a_change_that_fails_beside_old_replicas_is_left_alone_until_the_file_changes(desk: Desk) -> None:
    desk.run(10)
    desk.ray.fails = {"one"}
    desk.write(ONE.replace("synthetic", "file_type"))
    assert desk.run(600) == ["one rolling"]


@pytest.mark.parametrize(
    ("message", "short"),
    [
        ("", "Ray does not say why"),
        ("Failed to start.", "Failed to start."),
        (
            "It failed 3 times. Error:\n  File x\nMemoryError: no room\n",
            "It failed 3 times. Error: MemoryError: no room",
        ),
    ],
)
def test_a_failure_is_told_without_its_traceback(message: str, short: str) -> None:
    assert in_short(message) == short


def test_a_rolling_change_that_finds_no_worker_is_made_in_place_after_a_while(desk: Desk) -> None:
    desk.run(10)
    desk.ray.waits = {"one"}
    desk.write(ONE.replace("synthetic", "file_type"))
    assert desk.run(1) == ["one rolling"]
    waiting: Any = replace(desk.ray.applications["one"], replicas=2, unplaced=1)
    desk.ray.applications["one"] = waiting
    assert desk.run(59) == []
    assert desk.run(3) == ["one in place"]
    assert isinstance(desk.ray.handed[0], Deploy)
    assert desk.ray.handed[0].replicas == 1
    assert desk.run(100) == []


def test_the_check_is_a_process_that_loads_only_what_it_is_told(tmp_path: Path) -> None:
    """A model whose files are missing can be made, and not loaded."""
    file = tmp_path / "models.yaml"
    file.write_text(
        "models:\n" + ONE + "  lost: {kind: text_embedder, slot: v100-8q-8GB, objective_p95_ms: 200, "
        "parameters: {folder: /nowhere/at/all}}\n"
    )
    check = checker(file, cost_ratio=1)
    assert check([]) == []
    assert check(["one"]) == []
    (problem,) = check(["one", "lost"])
    assert problem.startswith(f"{file}: models.lost: ")
    assert "/nowhere/at/all" in problem
