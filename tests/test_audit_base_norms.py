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

from gradience.audit.base import lanczos, narrow, norms
from gradience.audit.base.measured import Norms
from gradience.audit.tensors import widening

Vector = npt.NDArray[np.floating[Any]]
NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


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


def stored(weight: torch.Tensor) -> npt.NDArray[Any]:
    """The numbers as a file has them."""
    plain = weight.view(torch.int16) if weight.dtype == torch.bfloat16 else weight
    return plain.numpy().view(widening.STORED[NAMES[weight.dtype]])


def measured(weight: torch.Tensor) -> Norms | None:
    """The norms of a tensor."""
    return norms.norms(stored(weight), NAMES[weight.dtype])


@settings(max_examples=120)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    shape=st.tuples(st.integers(4, 90), st.integers(4, 90)),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(list(NAMES)),
    exponent=st.integers(-12, 4),
)
def test_norms_are_those_of_a_dense_svd_within_their_bound(
    kind: str, shape: tuple[int, int], seed: int, dtype: torch.dtype, exponent: int
) -> None:
    """σ₁ is off by no more than `error`, itself at most 1 % of σ₁; ‖W‖_F is exact. Tall, wide, stored in any float."""
    weight = (matrix(kind, *shape, seed) * 2.0**exponent).to(dtype)
    dense = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    found = measured(weight)
    assert found is not None
    assert abs(found.sigma_max - dense[0]) <= found.error <= 0.0101 * dense[0]
    assert found.fro == pytest.approx(np.linalg.norm(dense), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_the_scale_does_not_matter(scale: float) -> None:
    """Where float32 has no room for squares, float64 is taken."""
    whole = matrix("graded", 40, 30, 0) * scale
    found = measured(whole if abs(math.log10(scale)) > 38 else whole.float())
    assert found is not None
    assert found.sigma_max == pytest.approx(scale, rel=1e-3)
    assert found.fro == pytest.approx(scale * math.sqrt(1 / (1 - 0.49)), rel=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_has_no_norms(value: float) -> None:
    """One such entry is enough."""
    broken = torch.ones(8, 8)
    broken[3, 4] = value
    assert measured(broken) is None


def test_a_weight_of_zeros_has_norms_of_zero() -> None:
    """Zero is a size, not an error."""
    found = measured(torch.zeros(8, 4, dtype=torch.bfloat16))
    assert found is not None
    assert (found.sigma_max, found.fro, found.error) == (0, 0, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_a_vector_is_a_matrix_too(shape: tuple[int, int]) -> None:
    """Its two norms are the same."""
    found = measured(torch.full(shape, 2.0))
    assert found is not None
    assert found.sigma_max == pytest.approx(2 * math.sqrt(math.prod(shape)))


def test_the_same_matrix_gives_the_same_numbers() -> None:
    """The start is seeded, and the matrix is left as it was."""
    weight = matrix("flat", 64, 64, 1)
    before = weight.clone()
    assert measured(weight) == measured(weight)
    assert torch.equal(weight, before)


def test_several_blocks_are_one_matrix() -> None:
    """A matrix that does not fit a block, and does not end with one."""
    weight = matrix("spike", 1500, 520, 2).bfloat16()
    found = measured(weight)
    assert found is not None
    assert found.sigma_max == pytest.approx(float(torch.linalg.matrix_norm(weight.double(), 2)), abs=found.error)


def test_steps_have_an_end() -> None:
    """A spectrum that is nearly one value does not converge quickly; the bound says how far it got."""
    values = np.linspace(1 - 1e-9, 1, 2000)
    found = lanczos.top(lambda vector: values * vector, 2000)
    assert found.steps < lanczos.MAX_STEPS
    assert found.value <= 1 <= found.bound


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_finite_number_is_written_as_it_is(dtype: torch.dtype) -> None:
    """Subnormal ones and both zeros too."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    finite = every[torch.isfinite(every)].view(1, -1)
    out = np.empty(finite.shape, dtype=np.float32)
    narrow.write(stored(finite), NAMES[dtype], out)
    assert out.tobytes() == finite.float().numpy().tobytes()
