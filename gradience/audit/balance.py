"""How an update is shared between its two factors: norms of A and B, and how unlike their Grams are.

B·T and T⁻¹·A make the same update, so these numbers tell of the training (start, learning rates, weight decay) and
never of the update. Pure: Grams in, plain numbers out.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gradience.audit.measured import Balance


def of(gram_a: Tensor, gram_b: Tensor, exponents: Sequence[tuple[int, int]]) -> list[Balance]:
    """The balance of each module of a batch: A·Aᵀ and Bᵀ·B are (n, r, r), finite, on the CPU.

    The factors themselves are A * 2**a and B * 2**b with (a, b) the module's `exponents`.
    """
    a_norms, b_norms = (gram.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt().tolist() for gram in (gram_a, gram_b))
    rows = zip(exponents, a_norms, b_norms, _imbalances(gram_a, gram_b, exponents), strict=True)
    return [
        Balance(a_norm=raised(a_norm, a), b_norm=raised(b_norm, b), imbalance=imbalance)
        for (a, b), a_norm, b_norm, imbalance in rows
    ]


def raised(number: float, exponent: int) -> float:
    """`number` * 2**`exponent`; infinite where that is too large for a float."""
    try:
        return math.ldexp(number, exponent)
    except OverflowError:
        return math.inf


def _imbalances(gram_a: Tensor, gram_b: Tensor, exponents: Sequence[tuple[int, int]]) -> list[float]:
    # Only the ratio of the two powers matters: the larger one becomes 1, so that nothing overflows.
    weights = [[raised(1.0, 2 * (one - max(pair))) for one in pair] for pair in exponents]
    weight_a, weight_b = torch.tensor(weights, dtype=torch.float64, device="cpu")[:, :, None, None].unbind(1)
    a, b = gram_a * weight_a, gram_b * weight_b
    whole = torch.linalg.matrix_norm(a) + torch.linalg.matrix_norm(b)
    found: list[float] = torch.where(whole > 0, torch.linalg.matrix_norm(a - b) / whole, 0.0).tolist()
    return found
