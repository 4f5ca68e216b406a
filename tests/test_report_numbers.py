import math

import pytest

from gradience.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.96, "1.0K"), (4096, "4.1K"), (999_999, "1.0M"), (7e9, "7.0B"), (None, "-")],
)
def test_counts_are_short(value: float | None, text: str) -> None:
    """One decimal and a unit from a thousand on; a rounded 1000 takes the next unit."""
    assert numbers.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.153, "15.3%"), (1.0, "100.0%"), (0.99999, "99.9%"), (0.0, "0.0%"), (None, "-")]
)
def test_a_share_short_of_all_is_not_all(value: float | None, text: str) -> None:
    """100.0% means that nothing is missing."""
    assert numbers.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (0.000123456, "0.0001235"), (math.nan, "nan"), (math.inf, "inf"), (None, "-")]
)
def test_measurements_have_four_digits(value: float | None, text: str) -> None:
    """No trailing zeros, and what is not finite says so."""
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("size", "text"), [(None, "-"), (83_886_080, "83.9"), (2048, "0.00205"), (2_500_000_000, "2500")]
)
def test_sizes_are_in_megabytes(size: int | None, text: str) -> None:
    """10^6 bytes, and small adapters keep their digits."""
    assert numbers.megabytes(size) == text
