import pytest

from gradience.curves.pace import WINDOW, Pace


def _pace(*seen: tuple[int, float]) -> Pace:
    pace = Pace()
    for step, ts in seen:
        pace.see(step, ts)
    return pace


def test_what_is_left_follows_from_the_last_sightings() -> None:
    """A slow beginning is forgotten; a plan that is done leaves nothing."""
    slow = [(step, 100.0 * step) for step in range(10)]
    fast = [(10 + step, 1000.0 + step / 2) for step in range(WINDOW + 1)]
    pace = _pace(*slow, *fast)
    assert pace.steps_per_s == pytest.approx(2.0)
    assert pace.left_s(10 + WINDOW + 20) == pytest.approx(10.0)
    assert pace.left_s(5) == 0.0


@pytest.mark.parametrize("seen", [[], [(1, 1.0)], [(1, 1.0), (1, 2.0)], [(1, 1.0), (2, 1.0)], [(5, 1.0), (2, 3.0)]])
def test_too_little_is_no_pace(seen: list[tuple[int, float]]) -> None:
    """One sighting, the same step twice, no time between them, a resume."""
    pace = _pace(*seen)
    assert (pace.steps_per_s, pace.left_s(100)) == (None, None)


def test_a_run_without_a_plan_has_no_end_in_sight() -> None:
    """Nor has one whose plan counts epochs, which trainers write as -1."""
    pace = _pace((1, 1.0), (2, 2.0))
    assert [pace.left_s(planned) for planned in (None, -1, 0)] == [None, None, None]
