"""‖W‖₂ and ‖W‖_F of one matrix on the CPU, in blocks of rows that fit a core's cache; pure.

‖W‖₂² is the largest eigenvalue of Wᵀ·W, whose product with a vector takes one pass over W as it is stored. float32 is
enough for that where no square overflows or vanishes; everything else is multiplied in float64.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gradience.audit import spectrum
from gradience.audit.base import lanczos
from gradience.audit.base.measured import Norms

_BLOCK = 1 << 18  # numbers: 1 MiB in float32
_SAFE = 1e12  # root mean squares up to this, and down to its inverse, leave float32 room for the products
_ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-12}  # of ‖W‖₂, by the sums of one product


def norms(matrix: Tensor) -> Norms | None:
    """The norms of a real matrix (m, n) of any floating dtype; None when they are no finite numbers."""
    if matrix.dtype == torch.float64:
        matrix = matrix.clone()
        exponent = spectrum.unit(matrix.numpy())
    else:
        exponent = 0  # the squares of every narrower number fit into float64
    fro = _fro(matrix)
    if not math.isfinite(fro):
        return None
    product = _Product(matrix, _precision(matrix, fro))
    top = lanczos.top(product, matrix.shape[1])
    sigma = math.sqrt(top.value)
    error = math.sqrt(top.bound) - sigma + _ROUNDING[product.precision] * sigma
    return _scaled(Norms(sigma_max=sigma, fro=fro, error=error, steps=top.steps), exponent)


def _scaled(norms: Norms, exponent: int) -> Norms | None:
    try:
        sigma, fro, error = (math.ldexp(value, exponent) for value in (norms.sigma_max, norms.fro, norms.error))
    except OverflowError:
        return None
    return Norms(sigma_max=sigma, fro=fro, error=error, steps=norms.steps)


class _Product:
    """Vector after vector times Wᵀ·W."""

    def __init__(self, matrix: Tensor, precision: torch.dtype) -> None:
        self.precision = precision
        self._matrix = matrix

    def __call__(self, vector: Tensor) -> Tensor:
        vector = vector.to(self.precision)
        image = torch.zeros_like(vector)
        for block in _blocks(self._matrix, self.precision):
            image.addmv_(block.mT, block @ vector)
        return image


def _fro(matrix: Tensor) -> float:
    flat = (block.flatten() for block in _blocks(matrix, torch.float64))
    return math.sqrt(math.fsum(float(part @ part) for part in flat))


def _precision(matrix: Tensor, fro: float) -> torch.dtype:
    mean = fro / math.sqrt(max(matrix.numel(), 1))
    is_safe = matrix.dtype != torch.float64 and 1 / _SAFE < mean < _SAFE
    return torch.float32 if is_safe else torch.float64


def _blocks(matrix: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    """Block after block of rows in `dtype`, each valid until the next."""
    rows = max(1, _BLOCK // matrix.shape[1])
    scratch = torch.empty(min(rows, matrix.shape[0]), matrix.shape[1], dtype=dtype)
    for start in range(0, matrix.shape[0], rows):
        part = matrix[start : start + rows]
        yield scratch[: len(part)].copy_(part)
