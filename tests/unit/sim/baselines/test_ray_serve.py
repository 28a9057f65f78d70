"""Ray Serve's law against sequences worked by hand. Where age is not the point, it samples and pushes each 2 s.

A look-back of 1 s then leaves one sample, so that the load is the present one.
"""

from typing import Any

import pytest

from autoscaler.sim.baselines.ray_serve import RayServe, RayServeSettings
from tests.unit.sim.baselines.views import MODEL, both, view

SWIFT = {"target_ongoing": 1.0, "look_back_s": 10.0, "push_s": 2.0, "up_delay_s": 0.0, "down_delay_s": 0.0}


def serve(**numbers: Any) -> RayServe:
    return RayServe(RayServeSettings(**{**SWIFT, **numbers}))


def run(law: RayServe, until_s: int, in_flight: list[int | None], from_s: int = 0, **fields: Any) -> list[int]:
    """What it wants in each step of 2 s, both ends included."""
    return [law.want(view(at_s, in_flight, **fields))[MODEL] for at_s in range(from_s, until_s + 1, 2)]


def test_the_defaults_are_two_requests_a_replica_up_after_30_s_down_after_600() -> None:
    law = RayServe()
    # The first push is at 10 s and says 8: four replicas are wanted from then on and done 30 s later.
    assert run(law, 60, [8]) == [1] * 20 + [4] * 11
    # From 62 s on nothing; the push of 70 s holds 8 from 42 to 66 s. At 74 s the mean is 24 x 8 / 32 = 6, worth three.
    down = run(law, 676, [0, 0, 0, 0], from_s=62)
    assert down == [4] * 306 + [1] * 2  # 600 s later, at 674 s, and then all the way


def test_what_it_knows_is_as_old_as_the_last_push() -> None:
    law = serve(look_back_s=30.0, push_s=10.0)
    run(law, 60, [2, 2])  # samples at 0, 6, ... 60, pushes at 10, ... 60
    assert run(law, 68, [8, 8], from_s=62) == [4, 4, 4, 4]  # 66 s brought a sample that nobody was told of
    # The push of 70 s has samples from 42 s on: 4 until 66 s, then 16; the mean is (24 x 4 + 4 x 16) / 28 = 5.7.
    assert run(law, 70, [8, 8], from_s=70) == [6]


def test_the_last_value_is_held_between_pushes() -> None:
    law = serve(look_back_s=30.0, push_s=10.0)
    run(law, 60, [2, 2])
    run(law, 70, [8, 8], from_s=62)
    # Nothing new is told until 80 s, but 16 is held: (24 x 4 + 12 x 16) / 36 = 8 at 78 s.
    assert run(law, 78, [0, 0], from_s=72) == [7, 7, 8, 8]


def test_the_delay_is_served_in_full_and_the_last_instant_decides() -> None:
    law = serve(up_delay_s=6.0, look_back_s=1.0)
    assert run(law, 6, [3]) == [1, 1, 1, 1]
    assert run(law, 8, [9], from_s=8) == [9]  # 3 were wanted for 6 s, and 9 at the end of it


def test_a_change_of_direction_starts_the_delay_again() -> None:
    law = serve(up_delay_s=6.0, down_delay_s=6.0, look_back_s=1.0)
    assert run(law, 6, [6, 0]) == [2, 2, 2, 2]  # up from 2 s on
    assert run(law, 8, [2, 0], from_s=8) == [2]  # as many as there are: the timer is cleared
    assert run(law, 14, [6, 0], from_s=10) == [2, 2, 2]
    assert run(law, 16, [0, 0], from_s=16) == [2]  # down: the timer is cleared again
    assert run(law, 22, [6, 0], from_s=18) == [2, 2, 2]
    assert run(law, 24, [6, 0], from_s=24) == [6]


def test_it_compares_with_its_target_and_not_with_what_runs() -> None:
    law = serve()
    assert run(law, 2, [6]) == [1, 6]
    assert run(law, 40, [6], from_s=4, target=6) == [6] * 19  # five still start, and none is added to them


@pytest.mark.parametrize(
    ("in_flight", "factors", "count"),
    [
        pytest.param([7, 6], {"up_factor": 0.5}, 8, id="half of eleven missing: ceil(2 + 5.5)"),
        pytest.param([7, 6], {"up_factor": 2.0}, 24, id="twice of eleven missing"),
        pytest.param([0] * 8, {"down_factor": 0.5}, 4, id="half of eight too many"),
        pytest.param(
            [5, 1, 0, 0, 0, 0, 0, 0], {"down_factor": 0.25}, 7, id="ceil(8 - 0.25 x 2) is 8 again: never stuck"
        ),
    ],
)
def test_factors_scale_the_difference(in_flight: list[int | None], factors: dict[str, float], count: int) -> None:
    assert run(serve(**factors), 2, in_flight)[-1] == count


def test_a_fall_rounds_up_and_does_not_pass_below_one() -> None:
    assert run(serve(), 2, [2, 1, 0, 0, 0])[-1] == 3
    assert run(serve(down_factor=2.0), 2, [0, 0, 0])[-1] == 1
    assert run(serve(), 2, [1, 0])[-1] == 1


def test_a_report_that_does_not_come_for_twenty_seconds_is_no_load() -> None:
    law = serve(look_back_s=10.0)
    assert run(law, 10, [4]) == [1, 4, 4, 4, 4, 4]
    assert run(law, 30, [None] * 4, from_s=12) == [4] * 10
    assert run(law, 32, [None] * 4, from_s=32) == [1]


def test_replicas_that_are_not_seen_count_for_nothing() -> None:
    assert run(serve(), 2, [3, None, None])[-1] == 3
    assert run(serve(), 2, [3, None, None, None])[-1] == 3


def test_where_no_replica_runs_the_target_stays() -> None:
    assert run(serve(), 20, [], target=3) == [3] * 11


def test_a_deployment_that_is_not_seen_keeps_its_target() -> None:
    law = serve()
    assert run(law, 2, [5]) == [1, 5]
    assert law.want(view(4, seen=False)) == {MODEL: 5}
    assert serve().want(view(0, seen=False)) == {}


def test_counts_stay_within_the_bounds_of_the_model() -> None:
    assert run(serve(), 2, [50], most=6)[-1] == 6
    assert run(serve(), 2, [0, 0, 0], least=2)[-1] == 2


def test_models_are_kept_apart() -> None:
    law = serve()
    for at_s in (0, 2):
        wanted = law.want(both(view(at_s, [3], model="one"), view(at_s, [5], model="two")))
    assert wanted == {"one": 3, "two": 5}
