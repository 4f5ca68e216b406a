"""The ladder of ranks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.audit import ladder


@pytest.mark.parametrize(
    ("r", "expected"), [(1, (1,)), (2, (1, 2)), (16, (1, 2, 4, 8, 16)), (12, (1, 2, 4, 8, 12)), (3, (1, 2, 3))]
)
def test_powers_of_two_end_with_r(r: int, expected: tuple[int, ...]) -> None:
    """The rungs are the powers of two below r, and r itself, once."""
    assert ladder.ranks(r) == expected


@given(r=st.integers(1, 2000), share=st.floats(0, 1))
def test_a_rung_never_falls_below_what_is_asked(r: int, share: float) -> None:
    """The chosen rung is on the ladder, at least the energy rank, at least 1 and at most r."""
    rank = ladder.at_least(share * r, r)
    assert rank in ladder.ranks(r)
    assert max(1, share * r) <= rank <= r
