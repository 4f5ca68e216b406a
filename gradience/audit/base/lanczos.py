"""The largest eigenvalue of a symmetric positive semi-definite operator, by Lanczos from a seeded start; pure.

The value never exceeds the true one, and `bound` is above it for all but a share RISK of random starts. (A small
residual would promise less: it says that *an* eigenvalue is near, and of near ties that may be the second one.)

After k steps from a unit vector v, ‖p(A)·v‖ = Πβ for the polynomial p with the Ritz values θ as its zeros. So the part
c of v along the top eigenvector has |c|·Π(λ - θ) <= Πβ, and a random v in n dimensions has |c| < t with a probability
of at most t·√(2n/π): no λ can be so large that c would be smaller than chance allows (Van Dorsselaer, Hochstenbach and
Van der Vorst, Computing probabilistic bounds for extreme eigenvalues of symmetric matrices with the Lanczos method).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradience.audit.spectra.spectrum import Array

RISK = 1e-6
TOLERANCE = 2e-2  # how far `bound` may stay above `value`, relatively; the value itself is then right to some 1e-3
MAX_STEPS = 300  # a spectrum without any gap takes about 70
_SEED = 20_240_229
_ROUNDING = float(np.finfo(np.float64).eps)
_HALVINGS = 50


class Top(NamedTuple):
    """The largest eigenvalue lies in [value, bound]; so many multiplications were needed."""

    value: float
    bound: float
    steps: int


def top(multiply: Callable[[Array], NDArray[Any]], size: int) -> Top:
    """The largest eigenvalue of the operator `multiply` on vectors of `size` numbers."""
    basis = np.empty((min(size, 16), size))
    basis[0] = _start(size)
    diagonal: list[float] = []
    beside: list[float] = []
    found = Top(0.0, 0.0, 0)
    for step in range(1, min(size, MAX_STEPS) + 1):
        image = multiply(basis[step - 1]).astype(np.float64)
        diagonal.append(float(image @ basis[step - 1]))
        rest = _outside(basis[:step], image)
        beside.append(float(np.linalg.norm(rest)))
        found = _bounded(_ritz(diagonal, beside), beside, size)
        if found.bound <= (1 + TOLERANCE) * found.value:
            break
        basis = _with_room(basis, step)
        basis[step] = rest / beside[-1]
    return found


def _start(size: int) -> Array:
    """A direction without preference, the same every time."""
    vector = np.random.default_rng(_SEED).standard_normal(size)
    vector /= np.linalg.norm(vector)
    return vector


def _outside(basis: Array, vector: Array) -> Array:
    """The part of `vector` that is orthogonal to the basis; twice, because once leaves rounding that grows."""
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector


def _ritz(diagonal: Sequence[float], beside: Sequence[float]) -> list[float]:
    """The Ritz values, ascending: eigenvalues of the tridiagonal matrix so far."""
    sides = beside[:-1]
    values: list[float] = np.linalg.eigvalsh(np.diag(diagonal) + np.diag(sides, 1) + np.diag(sides, -1)).tolist()
    return values


def _bounded(ritz: Sequence[float], beside: Sequence[float], size: int) -> Top:
    """The largest λ that chance allows, by halving: Σ log(λ - θ) grows with λ."""
    value = max(ritz[-1], 0.0)
    if beside[-1] <= _ROUNDING * value or len(ritz) == size:
        return Top(value, value, len(ritz))  # the steps so far span all that the operator reaches
    allowed = sum(map(math.log, beside)) + math.log(math.sqrt(2 * size / math.pi) / RISK)
    low, high = value, value + math.exp(allowed / len(ritz))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_allowed = middle <= value or sum(math.log(middle - theta) for theta in ritz) <= allowed
        low, high = (middle, high) if is_allowed else (low, middle)
    return Top(value, high, len(ritz))


def _with_room(basis: Array, step: int) -> Array:
    return basis if step < len(basis) else np.concatenate([basis, np.empty_like(basis)])
