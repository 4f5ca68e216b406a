"""The spectrum of B @ A from its factors, against a dense float64 SVD of the product."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradience.audit.spectra import spectrum

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class Spectrum(NamedTuple):
    """The Gram method on one module."""

    values: torch.Tensor
    floor: float
    certified: bool


def dense(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The slow and obvious reference: all r singular values of the product."""
    values = torch.linalg.svdvals(b @ a)[: a.shape[0]]
    return torch.nn.functional.pad(values, (0, a.shape[0] - values.numel()))


def by_gram(a: torch.Tensor, b: torch.Tensor) -> Spectrum:
    """The Gram method on one module."""
    found = spectrum.cores(spectrum.gram(a.numpy())[None], spectrum.gram(b.numpy().T)[None])
    return Spectrum(torch.from_numpy(found.values[0].copy()), float(found.floors[0]), bool(found.certified[0]))


def by_qr(a: torch.Tensor, b: torch.Tensor) -> spectrum.Exact:
    """The exact method on one module."""
    return spectrum.exact(spectrum.triangle(b.numpy()), spectrum.triangle(a.numpy().T))


def rounding(a: torch.Tensor, b: torch.Tensor) -> float:
    """What the reference itself may be off by."""
    return 64 * torch.finfo(torch.float64).eps * float(a.norm()) * float(b.norm())


@st.composite
def factors(draw: st.DrawFn) -> list[torch.Tensor]:
    """A (r, in) and B (out, r) with graded, deficient, tiny, huge or zero columns, as files of any dtype hold them."""
    r, width_in, width_out = draw(st.integers(1, 20)), draw(st.integers(1, 40)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    a = torch.randn(r, width_in, generator=generator, dtype=torch.float64)
    b = torch.randn(width_out, r, generator=generator, dtype=torch.float64)
    b *= torch.logspace(0, -draw(st.floats(0, 12)), r, dtype=torch.float64)
    b[:, r - draw(st.integers(0, r)) :] = 0
    if r > 1 and draw(st.booleans()):
        a[0] = a[-1]
    a, b = (factor * draw(st.sampled_from([1.0, 1e-30, 1e-6, 1e30])) for factor in (a, b))
    dtype = draw(st.sampled_from(DTYPES))
    limit = torch.finfo(dtype).max
    return [factor.clamp(-limit, limit).to(dtype).double() for factor in (a, b)]


@settings(max_examples=150)
@given(pair=factors())
def test_the_gram_method_keeps_its_promise(pair: list[torch.Tensor]) -> None:
    """A certified spectrum is within its floor of the truth everywhere, and close to exact at the head."""
    a, b = pair
    found, truth = by_gram(a, b), dense(a, b)
    if not found.certified:
        return
    error = (found.values - truth).abs()
    assert float(error.max()) <= found.floor + rounding(a, b)
    # What the module's docstring promises of each value, twice over; a certified one is at most zero when all are.
    bound = found.floor**2 / truth.clamp(min=found.floor or 1.0)
    assert bool((error <= bound + rounding(a, b)).all())
    assert float(error[0]) <= rounding(a, b)


@settings(max_examples=150)
@given(pair=factors())
def test_the_exact_method_keeps_its_promise(pair: list[torch.Tensor]) -> None:
    """Every value is within its floor of the truth, the smallest included."""
    a, b = pair
    found, truth = by_qr(a, b), dense(a, b)
    assert np.abs(found.values - truth.numpy()).max() <= found.floor + rounding(a, b)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_an_ordinary_adapter_is_certified(dtype: torch.dtype) -> None:
    """Trained factors in any storage format need no second method."""
    generator = torch.Generator().manual_seed(0)
    a = (torch.rand(16, 512, generator=generator) - 0.5).to(dtype).double()
    b = (torch.randn(256, 16, generator=generator) * torch.logspace(0, -3, 16)).to(dtype).double()
    found = by_gram(a, b)
    assert found.certified
    torch.testing.assert_close(found.values, dense(a, b), rtol=1e-9, atol=0)


@pytest.mark.parametrize("flaw", ["graded", "duplicate", "narrow"])
def test_a_spectrum_that_reaches_its_floor_is_not_certified(flaw: str) -> None:
    """Condition 1e9, a repeated row, more rank than width: the exact method must answer."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(8, 4 if flaw == "narrow" else 64, generator=generator, dtype=torch.float64)
    b = torch.randn(64, 8, generator=generator, dtype=torch.float64)
    if flaw == "graded":
        b *= torch.logspace(0, -9, 8, dtype=torch.float64)
    if flaw == "duplicate":
        a[0] = a[1]
    assert not by_gram(a, b).certified


@pytest.mark.parametrize("which", ["a", "b"])
def test_a_zero_factor_gives_a_certified_zero(which: str) -> None:
    """B is zero in every fresh adapter: no NaN, no fall-back."""
    a, b = torch.ones(4, 8, dtype=torch.float64), torch.ones(8, 4, dtype=torch.float64)
    (a if which == "a" else b).zero_()
    found = by_gram(a, b)
    assert found.values.tolist() == [0, 0, 0, 0]
    assert found.certified
    assert by_qr(a, b).values.tolist() == [0, 0, 0, 0]


def test_one_module_does_not_disturb_another() -> None:
    """A deficient module inside a batch leaves its neighbour's values as they are alone."""
    a, b = np.random.default_rng(0).standard_normal((2, 4, 16))
    gram_a = np.stack([np.zeros((4, 4)), spectrum.gram(a)])
    gram_b = np.stack([spectrum.gram(b), spectrum.gram(b)])
    together, alone = spectrum.cores(gram_a, gram_b), spectrum.cores(gram_a[1:], gram_b[1:])
    assert together.values[1].tolist() == alone.values[0].tolist()
    assert together.certified.tolist() == [True, True]


@pytest.mark.parametrize("r", [1, 8, 9, 16, 31, 96, 97])
@pytest.mark.parametrize("width", [5, 1024, 2500])
def test_a_gram_is_the_product_however_it_is_cut(r: int, width: int) -> None:
    """In strips and pieces or at once, of rows or of columns: the same numbers but for rounding, and symmetric."""
    a, b = np.random.default_rng(0).standard_normal((2, r, width))
    for rows in (a, np.ascontiguousarray(b.T).T):
        found = spectrum.gram(rows)
        np.testing.assert_allclose(found, np.einsum("ik,jk->ij", rows, rows), rtol=1e-12, atol=1e-12 * width)
        assert found.tolist() == found.T.tolist()


@given(exponent=st.integers(-1000, 1000))
def test_a_unit_factor_is_the_same_factor(exponent: int) -> None:
    """Scaling by a power of two is exact, leaves the largest entry in [1/2, 1), and is undone by the exponent."""
    factor = np.array([[3.0, -1.5]])
    scaled = np.ldexp(factor, exponent)
    found = spectrum.unit(scaled)
    assert 0.5 <= np.abs(scaled).max() < 1
    assert [math.ldexp(value, found - exponent) for value in scaled[0].tolist()] == factor[0].tolist()


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_a_factor_without_a_size_stays(value: float) -> None:
    """Zeros have no exponent, and what is not finite must be found later, not hidden."""
    factor = np.full((1, 2), value)
    assert spectrum.unit(factor) == 0
    np.testing.assert_equal(factor, np.full((1, 2), value))


def test_the_difference_of_two_equals_is_zero() -> None:
    """What lies below its floor as a whole is rounding, and rounding has no ranks."""
    a, b = np.random.default_rng(0).standard_normal((4, 30)), np.random.default_rng(1).standard_normal((20, 4))
    left, right = np.concatenate([b, -b], axis=1), np.concatenate([a, a])
    found = spectrum.exact(spectrum.triangle(left), spectrum.triangle(right.T))
    assert found.values.tolist() == [0.0] * 8
    assert found.floor > 0
