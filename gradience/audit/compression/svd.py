"""The best approximation of B @ A of a lower rank, from the factors alone; the product is never formed.

With QR of both factors, B = Q_B·R_B and Aᵀ = Q_A·R_A, the SVD of the r x r core R_B·R_Aᵀ is that of B @ A (Eckart and
Young 1936: cut off after k, no matrix of rank k is closer in the Frobenius norm). Pure: float64 in, float64 out.
"""

from typing import NamedTuple

import numpy as np

from gradience.audit.spectra import spectrum
from gradience.audit.spectra.spectrum import Array


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
    q_b, r_b = np.linalg.qr(full.b)
    q_a, r_a = np.linalg.qr(full.a.T)
    left, values, right = np.linalg.svd(r_b @ r_a.T, full_matrices=False)
    return Best(Factors(q_b @ (left[:, :rank] * values[:rank]), right[:rank] @ q_a.T), values)


def distance(one: Factors, other: Factors) -> float:
    """‖B·A - B'·A'‖_F."""
    r_b = spectrum.triangle(np.hstack([one.b, -other.b]))
    r_a = spectrum.triangle(np.hstack([one.a.T, other.a.T]))
    return float(np.linalg.norm(r_b @ r_a.T))


def padded(factors: Factors, rank: int) -> Factors:
    """The same product with zeros up to `rank`."""
    more = rank - len(factors.a)
    return Factors(np.pad(factors.b, ((0, 0), (0, more))), np.pad(factors.a, ((0, more), (0, 0))))
