"""‖W‖₂ and ‖W‖_F of one stored matrix, in blocks of rows that fit a core's cache; pure.

‖W‖₂² is the largest eigenvalue of Wᵀ·W, whose product with a vector takes one pass over W as it is stored. float32 is
enough for that where no square overflows or vanishes; everything else is multiplied in float64.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradience.audit.base import lanczos, narrow
from gradience.audit.base.measured import Norms
from gradience.audit.spectra import spectrum
from gradience.audit.spectra.spectrum import Array
from gradience.audit.tensors import widening

_BLOCK = 1 << 19  # numbers: 2 MiB in float32
_SAFE = 1e12  # root mean squares up to this, and down to its inverse, leave float32 room for the products
_ROUNDING = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}  # of ‖W‖₂, by the sums of one product


def norms(stored: NDArray[Any], dtype: str) -> Norms | None:
    """The norms of a matrix (m, n) as `widening.STORED` has it; None when they are no finite numbers."""
    exponent = 0  # the squares of everything narrower fit into float64
    if dtype == "F64":
        stored = stored.copy()
        exponent = spectrum.unit(stored)
    fro = math.sqrt(math.fsum(float(np.vdot(block, block)) for block in _blocks(stored, dtype, np.float64)))
    if not math.isfinite(fro):
        return None
    product = _Product(stored, dtype, _precision(stored, dtype, fro))
    top = lanczos.top(product, stored.shape[1])
    sigma = math.sqrt(top.value)
    error = math.sqrt(top.bound) - sigma + _ROUNDING[product.precision] * sigma
    return _scaled(Norms(sigma_max=sigma, fro=fro, error=error, steps=top.steps), exponent)


class _Product:
    """Vector after vector times Wᵀ·W."""

    def __init__(self, stored: NDArray[Any], dtype: str, precision: np.dtype[Any]) -> None:
        self.precision = precision
        self._stored = stored
        self._dtype = dtype

    def __call__(self, vector: Array) -> NDArray[Any]:
        vector = vector.astype(self.precision)
        image = np.zeros_like(vector)
        for block in _blocks(self._stored, self._dtype, self.precision):
            image += (block @ vector) @ block
        return image


def _precision(stored: NDArray[Any], dtype: str, fro: float) -> np.dtype[Any]:
    is_safe = dtype != "F64" and 1 / _SAFE < fro / math.sqrt(stored.size) < _SAFE
    return np.dtype(np.float32 if is_safe else np.float64)


def _blocks(stored: NDArray[Any], dtype: str, precision: Any) -> Iterator[NDArray[Any]]:
    """Block after block of rows, each valid until the next."""
    rows = max(1, _BLOCK // stored.shape[1])
    scratch = np.empty((min(rows, len(stored)), stored.shape[1]), dtype=precision)
    write = narrow.write if scratch.itemsize == 4 else widening.widen
    for start in range(0, len(stored), rows):
        part = stored[start : start + rows]
        block = scratch[: len(part)]
        write(part, dtype, block)
        yield block


def _scaled(norms: Norms, exponent: int) -> Norms | None:
    try:
        sigma, fro, error = (math.ldexp(value, exponent) for value in (norms.sigma_max, norms.fro, norms.error))
    except OverflowError:
        return None
    return Norms(sigma_max=sigma, fro=fro, error=error, steps=norms.steps)
