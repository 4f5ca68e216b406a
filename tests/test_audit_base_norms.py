"""Norms of one matrix against a dense SVD, for spectra that are easy and that are not."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradience.audit.base import lanczos
from gradience.audit.base.norms import norms

Vector = npt.NDArray[np.floating[Any]]
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


KINDS: dict[str, Callable[[int], Vector]] = {  # so many singular values, the largest near 1
    "graded": lambda count: 0.7 ** np.arange(count),
    "flat": lambda count: np.linspace(1, 0.9, count),
    "near ties": lambda count: np.where(np.arange(count) < 4, 1 - 1e-3 * np.arange(count), 0.5),
    "spike": lambda count: np.where(np.arange(count) == 0, 1.0, 0.1),
    "deficient": lambda count: np.where(np.arange(count) < 3, 1 - 0.2 * np.arange(count), 0.0),
}


def matrix(kind: str, rows: int, columns: int, seed: int) -> torch.Tensor:
    """A float64 matrix with that spectrum between random orthogonal factors."""
    generator = np.random.default_rng(seed)
    count = min(rows, columns)
    left, _ = np.linalg.qr(generator.standard_normal((rows, count)))
    right, _ = np.linalg.qr(generator.standard_normal((columns, count)))
    return torch.from_numpy((left * KINDS[kind](count)) @ right.T)


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    shape=st.tuples(st.integers(4, 90), st.integers(4, 90)),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(DTYPES),
    exponent=st.integers(-12, 4),
)
def test_norms_are_those_of_a_dense_svd_within_their_bound(
    kind: str, shape: tuple[int, int], seed: int, dtype: torch.dtype, exponent: int
) -> None:
    """σ₁ is off by no more than `error`, itself at most 1 % of σ₁; ‖W‖_F is exact. Tall, wide, stored in any float."""
    stored = (matrix(kind, *shape, seed) * 2.0**exponent).to(dtype)
    dense = np.linalg.svd(stored.double().numpy(), compute_uv=False)
    found = norms(stored)
    assert found is not None
    assert abs(found.sigma_max - dense[0]) <= found.error <= 0.0101 * dense[0]
    assert found.fro == pytest.approx(np.linalg.norm(dense), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_the_scale_does_not_matter(scale: float) -> None:
    """Where float32 has no room for squares, float64 is taken."""
    whole = matrix("graded", 40, 30, 0) * scale
    stored = whole if abs(math.log10(scale)) > 38 else whole.float()
    found = norms(stored)
    assert found is not None
    assert found.sigma_max == pytest.approx(scale, rel=1e-3)
    assert found.fro == pytest.approx(scale * math.sqrt(1 / (1 - 0.49)), rel=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_has_no_norms(value: float) -> None:
    """One such entry is enough."""
    broken = torch.ones(8, 8)
    broken[3, 4] = value
    assert norms(broken) is None


def test_a_weight_of_zeros_has_norms_of_zero() -> None:
    """Zero is a size, not an error."""
    found = norms(torch.zeros(8, 4, dtype=torch.bfloat16))
    assert found is not None
    assert (found.sigma_max, found.fro, found.error) == (0, 0, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_a_vector_is_a_matrix_too(shape: tuple[int, int]) -> None:
    """Its two norms are the same."""
    found = norms(torch.full(shape, 2.0))
    assert found is not None
    assert found.sigma_max == pytest.approx(2 * math.sqrt(math.prod(shape)))


def test_the_same_matrix_gives_the_same_numbers() -> None:
    """The start is seeded, and nothing of the caller's generator is used up."""
    stored = matrix("flat", 64, 64, 1)
    state = torch.get_rng_state()
    assert norms(stored) == norms(stored)
    assert torch.equal(torch.get_rng_state(), state)


def test_several_blocks_are_one_matrix() -> None:
    """A matrix that does not fit a block, and does not end with one."""
    stored = matrix("spike", 700, 520, 2).bfloat16()
    found = norms(stored)
    assert found is not None
    assert found.sigma_max == pytest.approx(float(torch.linalg.matrix_norm(stored.double(), 2)), abs=found.error)


def test_steps_have_an_end() -> None:
    """A spectrum that is nearly one value does not converge quickly; the bound says how far it got."""
    values = torch.linspace(1 - 1e-9, 1, 2000, dtype=torch.float64)
    found = lanczos.top(lambda vector: values * vector, 2000)
    assert found.steps < lanczos.MAX_STEPS
    assert found.value <= 1 <= found.bound
