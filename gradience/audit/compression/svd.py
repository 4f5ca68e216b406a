"""The best approximation of B @ A of a lower rank, from the factors alone; the product is never formed.

With QR of both factors, B = Q_B·R_B and Aᵀ = Q_A·R_A, the SVD of the r x r core R_B·R_Aᵀ is that of B @ A (Eckart and
Young 1936: cut off after k, no matrix of rank k is closer in the Frobenius norm). Pure: float64 in, float64 out.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from gradience.audit.spectra import spectrum
from gradience.audit.spectra.spectrum import Array

_CLEAR: Final = 1e-8  # of the terms of a sum, against the 1e-15 or so to which float64 adds them up


class Factors(NamedTuple):
    """B (out, r) and A (r, in), to be multiplied."""

    b: Array
    a: Array


class Best(NamedTuple):
    """B' (out, k) = U·Σ and A' (k, in) with orthonormal rows; `values` (r,) are all singular values, descending."""

    factors: Factors
    values: Array


def best(full: Factors, rank: int) -> Best:
    """The closest product of rank `rank`, which is at most that of the factors."""
    r_b = spectrum.triangle(full.b)
    q_a, r_a = np.linalg.qr(full.a.T)
    _, values, right = np.linalg.svd(r_b @ r_a.T, full_matrices=False)
    return Best(Factors(full.b @ (r_a.T @ right[:rank].T), right[:rank] @ q_a.T), values)  # U·Σ is B·A·V


def distance(one: Factors, other: Factors) -> float:
    """‖B·A - B'·A'‖_F, to a millionth: from inner products unless it is so small that they cancel, else by QR."""
    b, a = np.hstack([one.b, -other.b]), np.vstack([one.a, other.a])
    with np.errstate(all="ignore"):  # infinity, or infinity less infinity: QR takes over
        products = (b.T @ b) * (a @ a.T)
        square = float(products.sum())
        is_clear = square > _CLEAR * np.abs(products).sum()
    if is_clear and math.isfinite(square):
        return math.sqrt(square)
    return math.hypot(*(spectrum.triangle(b) @ spectrum.triangle(a.T).T).flat)  # squares need not fit


def padded(factors: Factors, rank: int) -> Factors:
    """The same product with zeros up to `rank`."""
    more = rank - len(factors.a)
    return Factors(np.pad(factors.b, ((0, 0), (0, more))), np.pad(factors.a, ((0, more), (0, 0))))
