"""Intruder dimensions against the dense definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.audit.base import intruders
from gradience.audit.spectra.spectrum import Array


def dense(weight: Array, update: Array) -> int:
    """The definition, by full SVDs."""
    before = np.linalg.svd(weight, full_matrices=False)[0]
    after = np.linalg.svd(weight + update, full_matrices=False)[0][:, : intruders.TOP]
    return int((np.abs(before.T @ after).max(axis=0) < intruders.COSINE).sum())


@given(st.integers(12, 40), st.integers(12, 40), st.floats(0.0, 20.0), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_they_are_those_of_the_definition(height: int, width: int, strength: float, rank: int, seed: int) -> None:
    """For wide and tall weights, and updates from none to overwhelming."""
    draw = np.random.default_rng(seed).standard_normal
    weight, update = draw((height, width)), strength * draw((height, rank)) @ draw((rank, width)) / np.sqrt(rank)
    assert intruders.count(weight, update) == dense(weight, update)


@pytest.mark.parametrize("shape", [(30, 60), (60, 30)])
def test_a_strong_direction_of_no_kin_is_one(shape: tuple[int, int]) -> None:
    """One new direction, spread over many old ones, leads; a multiple of the weight brings none."""
    draw = np.random.default_rng(0).standard_normal
    weight = draw(shape)
    new = 100.0 * np.outer(np.ones(shape[0]), np.ones(shape[1])) / np.sqrt(shape[0] * shape[1])
    assert intruders.count(weight, new) == 1
    assert intruders.count(weight, 0.5 * weight) == 0
