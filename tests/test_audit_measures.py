"""Measures of a spectrum."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.audit import measures

SPECTRA = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=40).map(lambda values: sorted(values, reverse=True))


def test_a_flat_spectrum_uses_every_direction() -> None:
    """Equal singular values: every rank is the number of directions."""
    flat = [2.0] * 8
    assert measures.stable_rank(flat) == pytest.approx(8)
    assert measures.effective_rank(flat) == pytest.approx(8)
    assert measures.energy_ranks(flat, (0.5, 0.9, 1.0)) == (4, 8, 8)


def test_known_values() -> None:
    """Worked by hand for σ = 2, 1, 0: stable 5/4, effective exp(H(2/3, 1/3)), 80 % of the energy in the first."""
    values = [2.0, 1.0, 0.0]
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert measures.stable_rank(values) == pytest.approx(1.25)
    assert measures.effective_rank(values) == pytest.approx(math.exp(entropy))
    assert measures.energy_ranks(values, (0.8, 0.81)) == (1, 2)
    assert measures.residuals(values, (1, 2, 3)) == pytest.approx((math.sqrt(1 / 5), 0, 0))
    assert measures.fro_norm(values) == pytest.approx(math.sqrt(5))


def test_a_zero_spectrum_has_no_shape() -> None:
    """No ratio of zeros, no NaN: ranks and residuals are 0."""
    zero = [0.0] * 4
    assert measures.stable_rank(zero) == 0
    assert measures.effective_rank(zero) == 0
    assert measures.energy_ranks(zero, (0.9, 0.99)) == (0, 0)
    assert measures.residuals(zero, (1, 4)) == (0, 0)


@given(values=SPECTRA, exponent=st.integers(-900, 900))
def test_shape_does_not_depend_on_scale(values: list[float], exponent: int) -> None:
    """Multiplying a spectrum by a power of two, tiny or huge, changes no rank and no residual."""
    scaled = [math.ldexp(value, exponent) for value in values]
    assert measures.stable_rank(scaled) == measures.stable_rank(values)
    assert measures.effective_rank(scaled) == pytest.approx(measures.effective_rank(values))
    assert measures.energy_ranks(scaled, (0.9, 0.95)) == measures.energy_ranks(values, (0.9, 0.95))
    assert measures.residuals(scaled, (1, 2, 4)) == measures.residuals(values, (1, 2, 4))
    assert measures.fro_norm(scaled) == pytest.approx(math.ldexp(measures.fro_norm(values), exponent))


@given(values=SPECTRA, level=st.floats(0.01, 1.0))
def test_an_energy_rank_is_the_least_that_reaches_its_level(values: list[float], level: float) -> None:
    """Cutting at the energy rank loses at most 1 - level of the energy, cutting one earlier loses more."""
    (k,) = measures.energy_ranks(values, (level,))
    kept, lost_more = (1 - rest**2 for rest in measures.residuals(values, (k, k - 1)))
    assert kept >= level - 1e-9
    assert lost_more < level + 1e-9


@given(values=SPECTRA)
def test_ranks_are_ordered(values: list[float]) -> None:
    """1 <= stable rank <= r, 1 <= effective rank <= r, and energy ranks grow with their level."""
    r = len(values)
    assert 1 <= measures.stable_rank(values) <= r * (1 + 1e-12)
    assert 1 - 1e-12 <= measures.effective_rank(values) <= r * (1 + 1e-12)
    k90, k95, k99 = measures.energy_ranks(values, (0.90, 0.95, 0.99))
    assert 1 <= k90 <= k95 <= k99 <= r


def test_a_level_reached_up_to_rounding_is_reached() -> None:
    """Nine of ten equal directions hold 90 %, whatever the last bit of the sum says."""
    assert measures.energy_ranks([0.1] * 10, (0.9,)) == (9,)
