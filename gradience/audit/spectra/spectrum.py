"""Singular values of B @ A from the factors alone, B (out, r) and A (r, in), without ever forming the product.

With G_A = A·Aᵀ, G_B = Bᵀ·B (float64) and one Cholesky factor G_A = L·Lᵀ, the eigenvalues of Lᵀ·G_B·L are σ². Each σ is
then off by at most about `floor`² / 2σ, and never by more than `floor` = √(4·u·r)·Σⱼ‖Aⱼ‖‖Bⱼ‖ over the rows of A and
columns of B, u the rounding of float64: a power of two that moves from Aⱼ to Bⱼ changes no digit, so that it does not
matter how unlike they are. Where a spectrum reaches down to its floor, `exact` (QR of both factors, SVD of the r x r
core) is backward stable: every σ is right to 4·u·r·Σⱼ‖Aⱼ‖‖Bⱼ‖. Only A is factorised: B is all zeros in every fresh
adapter.

Everything here is pure and free of scale: numpy arrays in, numpy arrays out.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ROUNDING = float(np.finfo(np.float64).eps)
_STRIP = 8  # rows, and ...
_PIECE = 1024  # ... columns of a product so small that OpenBLAS takes its kernel for small matrices, ...
_NARROW = 96  # ... which beats its symmetric product up to about this many rows (measured: 2x at 16, 1.4x at 64)
_UPPER = np.triu(np.ones((_STRIP, _STRIP), dtype=bool), 1)
_TINY = 2.0**-500  # its square is a normal number
_SAFE = 10.0  # a smallest σ this many floors up has a relative error below 1 %, and the head one near 1e-15


class Cores(NamedTuple):
    """Spectra of a batch of modules: `values` (n, r) descend; `certified` (n,) says which rows can be trusted."""

    values: Array
    floors: Array
    certified: NDArray[np.bool_]


class Exact(NamedTuple):
    """The spectrum of one module: `values` (r,) descend, each right to `floor`."""

    values: Array
    floor: float


def gram(rows: Array) -> Array:
    """The products of all rows with each other, rows · rowsᵀ (r, r)."""
    with np.errstate(all="ignore"):  # infinity less infinity: the caller refuses what is not finite, by name
        return _strips(rows) if _STRIP < len(rows) <= _NARROW else rows @ rows.T


def unit(factor: Array) -> int:
    """Scale a factor in place by a power of two, so that squares neither overflow nor vanish; its exponent.

    Only float64 files need it: the squares of every narrower number fit. A factor that is zero or not finite stays.
    """
    largest = np.abs(factor).max()
    if not np.isfinite(largest) or not largest:
        return 0
    exponent = int(np.frexp(largest)[1])
    np.ldexp(factor, -exponent, out=factor)
    return exponent


def vanishes(factor: Array) -> bool:
    """Whether a row that is not zero is so small beside the largest number, which is about 1, that its squares are."""
    rows = np.abs(factor).max(axis=1)
    return bool(np.isfinite(rows).all()) and bool(((rows > 0) & (rows < _TINY)).any())


def cores(gram_a: Array, gram_b: Array) -> Cores:
    """The spectra of a batch: `gram_a` and `gram_b` are (n, r, r) and finite."""
    r = gram_a.shape[-1]
    norms = (np.sqrt(_diagonals(gram_a)) * np.sqrt(_diagonals(gram_b))).sum(-1)
    floors = norms * (4 * _ROUNDING * r) ** 0.5
    lower = _cholesky(gram_a)
    core = lower.swapaxes(1, 2) @ gram_b @ lower
    values = np.sqrt(np.linalg.eigvalsh(core).clip(min=0))[:, ::-1]
    certified = ((lower[:, 0, 0] > 0) & (values[:, -1] >= _SAFE * floors)) | (norms == 0)
    return Cores(values, floors, certified)


def triangle(columns: Array) -> Array:
    """R of the QR decomposition of a tall finite matrix (n, r): it has the matrix's inner products."""
    return np.asarray(np.linalg.qr(columns, mode="r"))


def exact(left: Array, right: Array) -> Exact:
    """The spectrum of B @ A from the triangles of B and of Aᵀ: about twice the cost of Grams, and no squaring.

    One that lies below its floor as a whole is nothing but rounding, as of a difference of two equals: zeros.
    """
    r = left.shape[1]
    values = np.linalg.svd(left @ right.T, compute_uv=False)
    floor = exact_floor(left, right)
    if values.max(initial=0) <= floor:
        values = np.zeros_like(values)
    return Exact(np.pad(values, (0, r - values.size)), floor)


def exact_floor(left: Array, right: Array) -> float:
    """How far a σ of `exact` may be off."""
    norms = np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=0)
    return float(4 * _ROUNDING * left.shape[1] * (norms[0] @ norms[1]))


def trace(grams: Array) -> Array:
    """The squared Frobenius norm of each factor of a batch, from its Gram."""
    total: Array = _diagonals(grams).sum(-1)
    return total


def _diagonals(grams: Array) -> Array:
    return grams.diagonal(axis1=1, axis2=2)


def _strips(rows: Array) -> Array:
    """`gram` by strips of its lower triangle, each summed over pieces of the columns."""
    r, width = rows.shape
    whole = width - width % _PIECE
    pieces = rows[:, :whole].reshape(r, -1, _PIECE).swapaxes(0, 1)
    rest = rows[:, whole:]
    product: Array = rest @ rest.T
    for start in range(0, r, _STRIP):
        strip = slice(start, start + _STRIP)
        above = max(0, start - 1)  # one row more: numpy would take a square for a symmetric product
        parts = pieces[:, above:] @ pieces[:, strip].swapaxes(1, 2)
        product[start:, strip] += parts.sum(0)[start - above :]
        square = product[strip, strip]  # whose two halves some kernels round differently
        np.copyto(square, square.T.copy(), where=_UPPER[: len(square), : len(square)])
        product[strip, start:] = product[start:, strip].T
    return product


def _cholesky(grams: Array) -> Array:
    """The lower factor of each matrix of a batch; zeros for one that has none, or not to working precision."""
    try:
        return np.asarray(np.linalg.cholesky(grams))
    except np.linalg.LinAlgError:  # of one at least, and numpy does not say of which
        if len(grams) == 1:
            return np.zeros_like(grams)
        return np.concatenate([_cholesky(one[None]) for one in grams])
