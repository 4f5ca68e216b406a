import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.audit.spectra import alignment, spectrum
from gradience.audit.spectra.alignment import Core
from gradience.audit.spectra.spectrum import Array

Factors = tuple[Array, Array]  # A (r, in) and B (out, r)


def _factors(seed: int, r: int, *, decay: float = 1.0, shape: tuple[int, int] = (40, 56)) -> Factors:
    generator = np.random.default_rng(seed)
    a = generator.standard_normal((r, shape[1]))
    b = generator.standard_normal((shape[0], r))
    return a * decay ** np.arange(float(r))[:, None], b


def _cores(first: Factors, second: Factors) -> tuple[Core, Core]:
    right = spectrum.triangle(np.concatenate([first[0], second[0]]).T)
    left = spectrum.triangle(np.concatenate([first[1], second[1]], axis=1))
    return alignment.cores(left, right, first[0].shape[0])


def _dense(factors: Factors) -> Array:
    return factors[1] @ factors[0]


@pytest.mark.parametrize("ranks", [(4, 4), (1, 7), (40, 16), (30, 30)])
@pytest.mark.parametrize("decay", [1.0, 0.3])
def test_measures_are_those_of_the_dense_updates(ranks: tuple[int, int], decay: float) -> None:
    """Norms, cosine, distance, and the angles of both leading subspaces; ranks together may exceed the width."""
    first, second = (_factors(seed, r, decay=decay) for seed, r in enumerate(ranks))
    second = (second[0] + 0.5 * first[0][:1], second[1] + 0.5 * first[1][:, :1])
    one, other = _cores(first, second)
    dense1, dense2 = _dense(first), _dense(second)
    norms = [float(np.linalg.norm(dense)) for dense in (dense1, dense2)]
    assert [one.norm, other.norm] == pytest.approx(norms, rel=1e-12)
    assert alignment.cosine(one, other) == pytest.approx(float((dense1 * dense2).sum()) / math.prod(norms), abs=1e-12)
    assert alignment.distance(one, other) == pytest.approx(float(np.linalg.norm(dense1 - dense2)), rel=1e-12)
    found = alignment.subspaces(one, other, 3)
    assert found.ks == tuple(min(3, r) for r in ranks)
    u1, _, v1 = np.linalg.svd(dense1)
    u2, _, v2 = np.linalg.svd(dense2)
    k1, k2 = found.ks
    assert found.left == pytest.approx(_angles(u1[:, :k1], u2[:, :k2]), abs=1e-8)
    assert found.right == pytest.approx(_angles(v1[:k1].T, v2[:k2].T), abs=1e-8)


def _angles(first: Array, second: Array) -> list[float]:
    cosines = np.linalg.svd(first.T @ second, compute_uv=False).clip(max=1.0)
    return [math.degrees(math.acos(cosine)) for cosine in cosines.tolist()]


@pytest.mark.parametrize("apart", [1e-3, 1e-8, 1e-12])
def test_close_updates_keep_their_distance(apart: float) -> None:
    """Where the expansion of the square has no digit left, the difference of the cores has most of them."""
    first, change = _factors(0, 8), _factors(1, 8)
    second = (np.concatenate([first[0], change[0]]), np.concatenate([first[1], apart * change[1]], axis=1))
    one, other = _cores(first, second)
    wanted = apart * float(np.linalg.norm(_dense(change)))
    assert abs(alignment.distance(one, other) - wanted) <= one.floor + other.floor < 1e-10


@given(
    ranks=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    decays=st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.floats(1e-30, 1e30),
    seed=st.integers(0, 1000),
)
def test_any_two_updates_are_compared_as_if_they_were_formed(
    ranks: tuple[int, int], decays: tuple[float, float], shape: tuple[int, int], size: float, seed: int
) -> None:
    """Within the bounds that are given: of any rank, shape, spectrum and size."""
    first = _factors(seed, ranks[0], decay=decays[0], shape=shape)
    second = _factors(seed + 1, ranks[1], decay=decays[1], shape=shape)
    second = (second[0] * size, second[1])
    one, other = _cores(first, second)
    dense1, dense2 = _dense(first), _dense(second)
    bound = one.floor + other.floor
    assert abs(one.norm - np.linalg.norm(dense1)) <= one.floor
    assert abs(other.norm - np.linalg.norm(dense2)) <= other.floor
    assert abs(alignment.distance(one, other) - np.linalg.norm(dense1 - dense2)) <= bound
    cosine = alignment.cosine(one, other)
    assert cosine is not None
    slack = one.floor / one.norm + other.floor / other.norm
    assert abs(cosine - (dense1 * (dense2 / one.norm / other.norm)).sum()) <= 2 * slack + 1e-14
    found = alignment.subspaces(one, other)
    assert all(0 <= angle <= 90 for angle in (*found.left, *found.right))


def test_small_angles_keep_their_digits() -> None:
    """An arc cosine could not tell 1e-10 degrees from none."""
    turn = math.radians(1e-10)
    first = np.eye(5, 2)
    second = first.copy()
    second[:, 1] = [0, math.cos(turn), math.sin(turn), 0, 0]
    assert alignment.angles(first, second) == pytest.approx((0.0, 1e-10), rel=1e-6)


@pytest.mark.parametrize("degrees", [0.0, 1.0, 44.0, 46.0, 89.0, 90.0])
def test_angles_of_lines_are_what_they_are(degrees: float) -> None:
    """On both sides of where sines give way to cosines."""
    turn = math.radians(degrees)
    lines = np.array([[1.0, math.cos(turn)], [0.0, math.sin(turn)]])
    assert alignment.angles(lines[:, :1], lines[:, 1:]) == pytest.approx((degrees,), abs=1e-12)


def test_a_subspace_within_another_overlaps_wholly() -> None:
    """The smaller one decides how many angles there are."""
    whole = np.eye(6, 4)
    assert alignment.overlap(alignment.angles(whole[:, 1:3], whole)) == pytest.approx(1.0)
    assert alignment.overlap(alignment.angles(whole, whole[:, 1:3])) == pytest.approx(1.0)


def test_directions_hold_95_percent_unless_their_number_is_given() -> None:
    """And never more than the update has: what is lost in rounding is no direction."""
    basis = np.eye(20, 4)
    sigma = np.array([1.0, 0.5, 1e-3, 0.0])
    factors = (basis.T, basis * sigma)
    cores = _cores(factors, factors)
    assert alignment.subspaces(*cores).ks == (2, 2)
    found = alignment.subspaces(*cores, 4)
    assert found.ks == (3, 3)
    assert found.gaps == pytest.approx((1.0, 1.0))


def test_an_update_of_zero_has_no_direction() -> None:
    """No cosine, no angle, no NaN; its distance to another is the other's norm."""
    a, b = _factors(0, 4)
    one, other = _cores((a, b), (a, np.zeros_like(b)))
    assert alignment.cosine(one, other) is None
    assert alignment.distance(one, other) == pytest.approx(one.norm)
    found = alignment.subspaces(one, other)
    assert (found.ks[1], found.gaps[1], found.left, alignment.overlap(found.right)) == (0, None, (), None)
