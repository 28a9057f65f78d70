"""A journal decided again: the same settings decide the same, others differ where they should, damage is named."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler.adapters.journal import Journal
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import Tick
from autoscaler.refusal import Refused
from autoscaler.sim import journal_reader
from autoscaler.sim.replay import Replay, parse_changes, replay, with_changes
from tests import build
from tests.unit.autoscaler.ticks import failed
from tests.unit.autoscaler.whole import BUSY, CALM, quick_spec, whole

SPEC = quick_spec()


def story(seconds: float = 40.0) -> list[Tick]:
    """A burst that makes one replica two and more, and a calm in which they leave."""
    told = whole(load=BUSY, spec=SPEC)
    ticks = told.run(seconds)
    told.metrics.load = CALM
    return [*ticks, *told.run(seconds)]


def write(path: Path, ticks: Sequence[Tick]) -> Path:
    journal = Journal(path)
    for tick in ticks:
        journal.record(tick)
    journal.close()
    return path


def again(path: Path, *settings: str, given: FleetSpec | None = None) -> Replay:
    return replay(journal_reader.read(path), given=given, changes=parse_changes(settings))


def test_the_story_has_something_to_decide() -> None:
    counts = {decision.count for tick in story() if tick.plan for decision in tick.plan.decisions}
    assert {1, 2} <= counts


def test_the_same_settings_decide_the_same(tmp_path: Path) -> None:
    ticks = story()
    found = again(write(tmp_path / "journal.jsonl", ticks))
    assert found == Replay(ticks=len(ticks), decisions=len(ticks), differences=(), unexplained=0, is_spec_recorded=True)


def test_a_models_file_stands_in_for_what_the_journal_does_not_say(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", story())
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"spec":' not in line))
    assert again(path, given=SPEC).differences == ()
    with pytest.raises(Refused, match="give its models file with --models"):
        again(path)


def test_other_settings_differ_where_they_should(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", story())
    found = again(path, "models.minilm.max_replicas=1")
    assert found.counts_changed > 0
    assert {difference.count_after for difference in found.differences} == {1}
    first = found.differences[0]
    assert (first.model, first.current, first.reason_after) == ("minilm", 1, "bounds")
    assert first.count_before > 1
    assert first.sentence_after.startswith("minilm: ")
    assert first.sentence_before != first.sentence_after


def test_a_tick_is_decided_as_if_the_record_had_been_followed(tmp_path: Path) -> None:
    """Later ticks start from the recorded count, although these settings would never have let it come about."""
    found = again(write(tmp_path / "journal.jsonl", story()), "models.minilm.max_replicas=1")
    later = [difference for difference in found.differences if difference.current > 1]
    assert later
    for difference in later:
        assert difference.sentence_after.startswith(f"minilm: from {difference.current}, ")


def test_what_the_settings_did_not_make_is_counted_apart(tmp_path: Path) -> None:
    """A journal that begins in the middle lacks the memory of the first half; that is no difference of the settings."""
    ticks = story()
    middle = next(index for index, tick in enumerate(ticks) if tick.plan and not tick.plan.decisions[0].held) + 1
    path = write(tmp_path / "journal.jsonl", ticks[middle:])
    assert again(path).differences == ()
    assert again(path).unexplained > 0


def test_a_second_run_in_the_same_file_begins_with_nothing(tmp_path: Path) -> None:
    ticks = story(20.0)
    path = write(tmp_path / "journal.jsonl", ticks)
    write(path, ticks)
    found = again(path)
    assert (found.ticks, found.differences, found.unexplained) == (2 * len(ticks), (), 0)


def test_a_rotated_file_still_says_by_what_it_was_decided(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, most_bytes=20_000)
    for tick in story():
        journal.record(tick)
    journal.close()
    assert path.with_name("journal.jsonl.1").exists()
    for part in (path, path.with_name("journal.jsonl.1")):
        assert {tick.spec for tick in journal_reader.read(part)} == {SPEC}


def test_a_tick_that_came_to_no_decision_is_passed_over(tmp_path: Path) -> None:
    ticks = story(5.0)
    assert again(write(tmp_path / "journal.jsonl", [*ticks, failed()])).ticks == len(ticks)
    with pytest.raises(Refused, match="no tick that came to a decision"):
        again(write(tmp_path / "empty.jsonl", [failed()]))


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    ticks = story(5.0)
    path = write(tmp_path / "journal.jsonl", ticks)
    path.write_text(path.read_text()[:-50])
    assert again(path).ticks == len(ticks) - 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("oops", "not JSON: "),
        ("[1]", "neither a tick nor a specification; "),
        ('{"format":1,"wall":""}', "neither a tick nor a specification; "),
        ('{"format":9,"tick":{}}', "format is 9; this version reads 1"),
        ('{"format":1,"tick":5}', "tick: expected a mapping; "),
        ('{"format":1,"tick":{"plan":{"at_s":1}}}', "tick.plan.actions: expected a list; "),
        ('{"format":1,"spec":{"pools":[]}}', "spec.models: missing; it has no default; "),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path / "journal.jsonl", story(3.0))
    count = len(path.read_text().splitlines())
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(Refused) as raised:
        again(path)
    assert str(raised.value).startswith(f"{path}:{count + 1}: {said}")


def test_a_number_that_is_missing_from_a_reason_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", story(10.0))
    lines = path.read_text().splitlines()
    index = next(index for index, line in enumerate(lines) if '"numbers":{"p95_ms"' in line)
    document = json.loads(lines[index])
    for step in document["tick"]["plan"]["decisions"][0]["steps"]:
        step["numbers"] = {}
    lines[index] = json.dumps(document)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(Refused, match=rf":{index + 1}: tick\.plan\.decisions\[0\]\.steps: no number 'p95_ms'"):
        list(journal_reader.read(path))


def test_a_journal_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No such file or directory; name a journal"):
        again(tmp_path / "none")


def test_every_number_can_be_changed() -> None:
    spec = build.fleet(build.model("a.b"), build.model("c"))
    changed = with_changes(
        spec,
        {"policy.window_s": "20", "guardrails.step_up_count": "3", "models.a.b.target_in_flight": "4.5"},
    )
    assert changed == replace(
        spec,
        policy=replace(spec.policy, window_s=20.0),
        guardrails=replace(spec.guardrails, step_up_count=3),
        models=(replace(spec.models[0], target_in_flight=4.5), spec.models[1]),
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("policy.windows=3", "--set policy.windows=3: unknown key; there are window_s, "),
        ("window_s=3", "--set window_s=3: unknown key; write policy.FIELD, "),
        ("models.minilm=3", "--set models.minilm=3: unknown key; write policy.FIELD, "),
        ("models.other.max_replicas=3", "--set models.other.max_replicas=3: no model 'other'; there are minilm"),
        ("models.minilm.name=3", "--set models.minilm.name=3: unknown key; there are objective_p95_ms, "),
        ("models.minilm.max_replicas=2.5", "--set models.minilm.max_replicas=2.5: '2.5' is no whole number"),
        ("policy.window_s=long", "--set policy.window_s=long: 'long' is no number"),
        ("policy.window_s=inf", "--set policy.window_s=inf: 'inf' is not finite"),
        ("policy.window_s=-1", "--set policy.window_s=-1: window_s is -1.0; above 0"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(setting: str, said: str) -> None:
    with pytest.raises(Refused) as raised:
        with_changes(build.fleet(), parse_changes([setting]))
    assert str(raised.value).startswith(said)


def test_all_bad_changes_are_named_at_once() -> None:
    with pytest.raises(Refused) as raised:
        with_changes(build.fleet(), {"policy.x": "1", "guardrails.y": "1"})
    assert len(str(raised.value).splitlines()) == 2
    with pytest.raises(Refused, match=r"--set window: not KEY=NUMBER such as policy\.window_s=20"):
        parse_changes(["window"])


def changing() -> list[Tick]:
    """An overload whose file gains a model, loosens the objective, and gives the model other work."""
    told = whole(load=BUSY, spec=SPEC)
    ticks = told.run(12)
    told.models.take(replace(SPEC, models=(*SPEC.models, build.model("ocr"))))
    told.serving.deploy("ocr", 1)
    ticks += told.run(10)
    told.models.take(quick_spec(objective_p95_ms=2000, scale_down_window_s=20.0))
    ticks += told.run(20)
    told.models.take(quick_spec(objective_p95_ms=2000), reworked=frozenset({"minilm"}))
    return [*ticks, *told.run(20)]


def test_a_journal_is_decided_by_what_each_tick_was_decided_by(tmp_path: Path) -> None:
    ticks = changing()
    assert len({tick.spec for tick in ticks}) == 4
    found = again(write(tmp_path / "journal.jsonl", ticks))
    assert (found.ticks, found.differences, found.unexplained) == (len(ticks), (), 0)
    assert found.decisions > len(ticks)


def test_what_a_change_forgets_is_forgotten_when_it_is_decided_again(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", changing())
    read = list(journal_reader.read(path))
    assert [tick.number for tick in read if tick.reworked] == [43]
    assert [tick.number for tick, before in zip(read[1:], read, strict=False) if tick.spec != before.spec] == [
        13,
        23,
        43,
    ]


def test_a_change_of_a_model_that_was_not_there_all_the_time_counts_where_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", changing())
    found = again(path, "models.ocr.min_replicas=2")
    # It has them for ten ticks, and the other one finds fewer slots meanwhile.
    assert {difference.tick for difference in found.differences if difference.model == "ocr"} <= set(range(13, 23))
    assert {difference.count_after for difference in found.differences if difference.model == "ocr"} >= {2}
    with pytest.raises(Refused) as raised:
        again(path, "models.other.min_replicas=2", "models.ocr.min_replicas=2")
    assert str(raised.value) == "--set models.other.min_replicas=2: no model 'other'; there are minilm, ocr"


def test_a_plan_that_was_not_carried_out_is_no_memory_of_a_target(tmp_path: Path) -> None:
    told = whole(workers=2, load=CALM, spec=SPEC)
    ticks = told.run(5)
    told.leadership.held = False
    told.serving.deploy("minilm", 2)  # what the one that leads has set meanwhile
    ticks += told.run(20)
    told.leadership.held = True
    ticks += told.run(5)
    assert {tick.dry_run for tick in ticks} == {True, False}
    found = again(write(tmp_path / "journal.jsonl", ticks))
    assert (found.ticks, found.differences, found.unexplained) == (len(ticks), (), 0)
