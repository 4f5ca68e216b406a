"""How an update is shared between its two factors: norms of A and B, and how unlike their Grams are.

B·T and T⁻¹·A make the same update, so these numbers tell of the training (start, learning rates, weight decay) and
never of the update. Pure: Grams in, plain numbers out.
"""

import math
from collections.abc import Sequence

import numpy as np

from gradience.audit.spectra.measured import Balance
from gradience.audit.spectra.spectrum import Array, trace


def of(gram_a: Array, gram_b: Array, exponents: Sequence[tuple[int, int]]) -> list[Balance]:
    """The balance of each module of a batch: A·Aᵀ and Bᵀ·B are (n, r, r) and finite.

    The factors themselves are A * 2**a and B * 2**b with (a, b) the module's `exponents`.
    """
    a_norms, b_norms = (np.sqrt(trace(gram)).tolist() for gram in (gram_a, gram_b))
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


def _imbalances(gram_a: Array, gram_b: Array, exponents: Sequence[tuple[int, int]]) -> list[float]:
    # Only the ratio of the two powers matters: the larger one becomes 1, so that nothing overflows.
    weights = [[raised(1.0, 2 * (one - max(pair))) for one in pair] for pair in exponents]
    weight_a, weight_b = np.array(weights)[:, :, None, None].swapaxes(0, 1)
    a, b = gram_a * weight_a, gram_b * weight_b
    whole = _norms(a) + _norms(b)
    found: list[float] = np.divide(_norms(a - b), whole, out=np.zeros_like(whole), where=whole > 0).tolist()
    return found


def _norms(matrices: Array) -> Array:
    norms: Array = np.linalg.norm(matrices, axis=(1, 2))
    return norms
