import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.curves.curve import Curve
from gradience.curves.smooth import ewma

Value = st.floats(allow_nan=False, allow_infinity=False, width=32)


def _curve(values: Sequence[float], *, limit: int = 8, cuts: Sequence[int] = ()) -> Curve:
    """The curve of one value per step, taken in pieces that end at `cuts`."""
    curve = Curve(limit)
    ends = sorted({*(cut for cut in cuts if cut < len(values)), len(values)})
    for start, end in zip([0, *ends], ends, strict=False):
        curve.extend(range(start, end), values[start:end])
    return curve


@given(st.lists(Value, max_size=300), st.lists(st.integers(0, 300), max_size=5), st.integers(2, 9))
def test_every_bucket_tells_of_its_own_points(values: list[float], cuts: list[int], limit: int) -> None:
    """Buckets are few, adjoin, and hold every point once; extremes, mean and end are those of their points."""
    buckets = _curve(values, limit=limit, cuts=cuts).buckets
    assert len(buckets) <= limit
    assert [step for one in buckets for step in range(one.first, one.last + 1)] == list(range(len(values)))
    for one in buckets:
        own = values[one.first : one.last + 1]
        assert (one.low, one.high, one.end, one.count) == (min(own), max(own), own[-1], len(own))
        assert (values[one.low_step], values[one.high_step]) == (one.low, one.high)
        assert one.mean == pytest.approx(math.fsum(own) / len(own), rel=1e-9, abs=1e-6 * max(map(abs, own)))


@given(st.lists(Value, max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_a_curve_is_the_same_in_whatever_pieces_it_comes(values: list[float], cuts: list[int]) -> None:
    """A live file is read in other pieces than one that is finished: the same buckets, extremes and places."""

    def told(curve: Curve) -> list[tuple[float, ...]]:
        return [(one.first, one.last, one.low, one.low_step, one.high, one.high_step) for one in curve.buckets]

    assert told(_curve(values, cuts=cuts)) == told(_curve(values))


@given(st.lists(Value, max_size=100), st.integers(0, 120))
def test_what_a_resume_tells_anew_is_forgotten(values: list[float], step: int) -> None:
    """No bucket begins at the step or after it; all before stay."""
    curve = _curve(values, limit=512)
    curve.forget(step)
    assert [one.first for one in curve.buckets] == list(range(min(step, len(values))))


def test_points_that_are_not_finite_have_a_place_and_no_height() -> None:
    """They are counted, the first of them by step; sums that only overflow are numbers like others."""
    curve = _curve([1.0, math.nan, 1.7e308, 1.7e308, -math.inf])
    assert (curve.nonfinite, curve.nonfinite_count) == ([1, 4], 2)
    assert [one.end for one in curve.buckets] == [1.0, 1.7e308, 1.7e308]


def test_the_trend_is_the_mean_that_forgets() -> None:
    """As computed point by point, with weights that sum to one; nearly so from buckets of many points."""
    values = [math.cos(step / 40) + 2 for step in range(400)]
    weighted = [sum(0.95 ** (at - k) * values[k] for k in range(at + 1)) for at in range(400)]
    slow = [total / sum(0.95**k for k in range(at + 1)) for at, total in enumerate(weighted)]
    assert ewma(_curve(values, limit=512).buckets) == pytest.approx(slow)
    coarse = _curve(values, limit=100)
    assert ewma(coarse.buckets) == pytest.approx([slow[one.last] for one in coarse.buckets], abs=0.03)
