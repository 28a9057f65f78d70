"""The script of `demo-profiles`, and the documents that it plays with."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import yaml

from autoscaler import config
from autoscaler.embedded import batch, day_night, fleet, switches
from autoscaler.embedded.day_night import DAY, NEXT_DAY, NIGHT, SCRIPT, Phase, Script
from autoscaler.load.schedule import Step

SHORT = Script(
    day=Step(rate_per_s=9, duration_s=30),
    night=Step(rate_per_s=3, duration_s=40),
    next_day=Step(rate_per_s=9, duration_s=20),
    night_after_s=5,
    day_before_s=8,
)
BEGAN = datetime(2027, 1, 15, 23, 59, 40, tzinfo=UTC)


def test_phases_follow_one_another() -> None:
    assert SHORT.phases == (
        Phase(name=DAY, from_s=0, to_s=30),
        Phase(name=NIGHT, from_s=30, to_s=70),
        Phase(name=NEXT_DAY, from_s=70, to_s=90),
    )
    assert SHORT.duration_s == 90


def test_night_comes_after_the_load_has_fallen_and_day_before_it_rises() -> None:
    assert SHORT.switches_s == {NIGHT: 35, DAY: 62}
    assert SHORT.schedule(BEGAN) == [{"layout": "night", "at": "00:00:15"}, {"layout": "day", "at": "00:00:42"}]


def test_times_are_written_in_utc_wherever_the_demo_runs() -> None:
    elsewhere = BEGAN.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert SHORT.schedule(elsewhere) == SHORT.schedule(BEGAN)


def test_the_switchers_file_is_the_packaged_one_with_the_schedule(tmp_path: Path) -> None:
    text = day_night.SWITCHER.read_text()
    schedule = SHORT.schedule(BEGAN)
    written = day_night.switcher_document(text, schedule)
    assert yaml.safe_load(written) == {**yaml.safe_load(text), "schedule": schedule}
    path = tmp_path / "switcher.yaml"
    path.write_text(written)
    switches.check(path, fleet.load(day_night.FLEET))


def test_the_whole_demo_fits_into_six_minutes_with_its_start() -> None:
    start_and_stop_s = 75  # twice what it takes here
    assert SCRIPT.duration_s + start_and_stop_s <= 360
    announce_s = yaml.safe_load(day_night.SWITCHER.read_text())["policy"]["announce_s"]
    # Night is announced when the load has fallen, not before.
    assert announce_s <= SCRIPT.night_after_s


def test_the_models_run_on_the_guests_of_the_day_and_on_those_that_stay() -> None:
    spec, cards = config.load(day_night.MODELS), fleet.load(day_night.FLEET)
    stays = {card.profile for card in cards.cards if card.gpu is None}
    by_day = {card.profile for card in cards.cards if card.powered}
    (model,) = spec.models
    assert {spec.pool(pool).profile.label for pool in model.pools} == by_day
    assert stays < by_day
    assert day_night.TRAINING_SLOT in {card.profile for card in cards.cards} - by_day


def test_the_training_is_a_pod_that_the_embedded_kubelet_runs() -> None:
    manifest = day_night.training_deployment("default")
    template = manifest["spec"]["template"]
    assert batch.is_training(template)
    assert batch.arguments(template, Path("/run/checkpoints"))[-4:] == [
        "--checkpoint",
        "/run/checkpoints/training.npz",
        "--checkpoint-every",
        "50",
    ]
    assert template["spec"]["nodeSelector"] == {"vgpu.type": "v100-16q-16GB"}
    assert template["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
