"""How an update is shared between its factors, against the definitions on the factors themselves."""

import pytest
import torch

from gradience.audit.spectra import balance
from gradience.audit.spectra.measured import Balance


def balanced(a: torch.Tensor, b: torch.Tensor, exponents: tuple[int, int] = (0, 0)) -> Balance:
    """The balance of one module."""
    (found,) = balance.of((a @ a.mT)[None].numpy(), (b.mT @ b)[None].numpy(), [exponents])
    return found


def drawn(r: int, width: int) -> torch.Tensor:
    """Random rows."""
    return torch.randn(r, width, generator=torch.Generator().manual_seed(width), dtype=torch.float64)


def test_norms_and_imbalance_are_those_of_the_factors() -> None:
    """The slow and obvious reference."""
    a, b = drawn(3, 8), drawn(3, 5).mT
    gram_a, gram_b = a @ a.mT, b.mT @ b
    expected = float((gram_a - gram_b).norm() / (gram_a.norm() + gram_b.norm()))
    found = balanced(a, b)
    assert (found.a_norm, found.b_norm) == pytest.approx((float(a.norm()), float(b.norm())))
    assert found.imbalance == pytest.approx(expected)


def test_equal_grams_are_balanced() -> None:
    """B = Aᵀ: what training from a balanced start with weight decay tends to."""
    a = drawn(3, 8)
    assert balanced(a, a.mT).imbalance == 0


def test_a_zero_factor_is_one_sided_and_two_are_balanced() -> None:
    """A fresh adapter has B = 0; no ratio of zeros is formed."""
    a, zero = drawn(3, 8), torch.zeros(3, 8, dtype=torch.float64)
    assert balanced(a, zero.mT).imbalance == 1
    assert balanced(zero, zero.mT) == Balance(a_norm=0, b_norm=0, imbalance=0)


@pytest.mark.parametrize("exponents", [(0, 0), (3, -2), (-900, -901), (1000, 990), (-1000, 1000)])
def test_factors_may_come_as_multiples_of_a_power_of_two(exponents: tuple[int, int]) -> None:
    """What was scaled so that squares fit a float is measured as it was; tiny and huge alike."""
    a, b = drawn(3, 8), drawn(3, 5).mT
    found = balanced(a, b, exponents)
    norms = [balance.raised(float(factor.norm()), exponent) for factor, exponent in zip((a, b), exponents, strict=True)]
    assert [found.a_norm, found.b_norm] == pytest.approx(norms)
    apart = exponents[0] - exponents[1]
    expected = balanced(torch.ldexp(a, torch.tensor(apart)), b).imbalance if apart > -100 else 1.0
    assert found.imbalance == pytest.approx(expected)
