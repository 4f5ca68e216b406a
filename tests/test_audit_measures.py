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
    assert measures.participation_ratio(values) == pytest.approx(25 / 17)
    assert (measures.nuclear_norm(values), measures.nuclear_rank(values)) == pytest.approx((3, 1.5))
    assert (measures.first_over_second(values, 0.0), measures.last_over_first(values)) == (2, 0)
    assert measures.spectral_residuals(values, (1, 2, 3)) == (0.5, 0, 0)


def test_a_zero_spectrum_has_no_shape() -> None:
    """No ratio of zeros, no NaN: ranks and residuals are 0."""
    zero = [0.0] * 4
    assert measures.stable_rank(zero) == 0
    assert measures.effective_rank(zero) == 0
    assert measures.energy_ranks(zero, (0.9, 0.99)) == (0, 0)
    assert measures.residuals(zero, (1, 4)) == measures.spectral_residuals(zero, (1, 4)) == (0, 0)
    assert (measures.participation_ratio(zero), measures.nuclear_rank(zero), measures.last_over_first(zero)) == (0,) * 3
    assert measures.first_over_second(zero, 0.0) is None
    assert measures.concentration(zero) == 0


@given(values=SPECTRA, exponent=st.integers(-900, 900))
def test_shape_does_not_depend_on_scale(values: list[float], exponent: int) -> None:
    """Multiplying a spectrum by a power of two, tiny or huge, changes no rank and no residual."""
    scaled = [math.ldexp(value, exponent) for value in values]
    assert measures.stable_rank(scaled) == measures.stable_rank(values)
    assert measures.effective_rank(scaled) == pytest.approx(measures.effective_rank(values))
    assert measures.energy_ranks(scaled, (0.9, 0.95)) == measures.energy_ranks(values, (0.9, 0.95))
    assert measures.residuals(scaled, (1, 2, 4)) == measures.residuals(values, (1, 2, 4))
    assert measures.spectral_residuals(scaled, (1, 2)) == measures.spectral_residuals(values, (1, 2))
    assert measures.participation_ratio(scaled) == measures.participation_ratio(values)
    assert measures.nuclear_rank(scaled) == measures.nuclear_rank(values)
    assert measures.first_over_second(scaled, 0.0) == measures.first_over_second(values, 0.0)
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
    """1 <= each rank <= r, the smooth ones stand in their proven order, and energy ranks grow with their level."""
    r = len(values)
    assert 1 - 1e-12 <= measures.participation_ratio(values) <= r * (1 + 1e-12)
    assert measures.stable_rank(values) <= measures.participation_ratio(values) * (1 + 1e-12)
    assert measures.stable_rank(values) <= measures.nuclear_rank(values) * (1 + 1e-12) <= r * (1 + 1e-11)
    assert 1 <= measures.stable_rank(values) <= r * (1 + 1e-12)
    assert 1 - 1e-12 <= measures.effective_rank(values) <= r * (1 + 1e-12)
    k90, k95, k99 = measures.energy_ranks(values, (0.90, 0.95, 0.99))
    assert 1 <= k90 <= k95 <= k99 <= r


def test_a_ratio_lost_in_rounding_is_none() -> None:
    """A second value that is no larger than what it may be off by says nothing; nor does a zero, or no value at all."""
    assert measures.first_over_second([1.0, 1e-9], floor=1e-8) is None
    assert measures.first_over_second([1.0], floor=0.0) is None
    assert measures.norm_ratio(1.0, 0.0) is None
    assert measures.excess_norm(0.0, 1.0, 0.0) is None
    assert measures.excess_norm(1e-320, 1.0, 1.0) is None


@given(values=SPECTRA, side=st.floats(1e-3, 1e3))
def test_the_excess_norm_is_one_when_balanced_and_more_otherwise(values: list[float], side: float) -> None:
    """For B = U·S^½ / side and A = side·S^½·Vᵀ both norms are known."""
    nuclear = measures.nuclear_norm(values)
    a, b = side * math.sqrt(nuclear), math.sqrt(nuclear) / side
    assert measures.excess_norm(nuclear, math.sqrt(nuclear), math.sqrt(nuclear)) == pytest.approx(1)
    assert measures.excess_norm(nuclear, a, b) == pytest.approx((side**2 + side**-2) / 2)
    assert measures.norm_ratio(a, b) == pytest.approx(side**2)


@given(parts=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=20))
def test_concentration_lies_between_even_and_one(parts: list[float]) -> None:
    """1 / n for n equal parts, 1 for a single one."""
    assert 1 / len(parts) - 1e-12 <= measures.concentration(parts) <= 1 + 1e-12
    assert measures.concentration([parts[0]] * 7) == pytest.approx(1 / 7)


@given(values=SPECTRA)
def test_residuals_are_those_of_the_tail(values: list[float]) -> None:
    """Against the definition, in both norms, for every k."""
    ks = range(len(values) + 2)
    fro = [math.hypot(*values[k:], 0.0) / math.hypot(*values) for k in ks]
    assert measures.residuals(values, ks) == pytest.approx(fro)
    assert measures.spectral_residuals(values, ks) == pytest.approx(
        [max(values[k:], default=0) / values[0] for k in ks]
    )


def test_a_level_reached_up_to_rounding_is_reached() -> None:
    """Nine of ten equal directions hold 90 %, whatever the last bit of the sum says."""
    assert measures.energy_ranks([0.1] * 10, (0.9,)) == (9,)
