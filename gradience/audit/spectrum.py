"""Singular values of B @ A from the factors alone, B (out, r) and A (r, in), without ever forming the product.

With G_A = A·Aᵀ, G_B = Bᵀ·B (float64) and one Cholesky factor G_A = L·Lᵀ, the eigenvalues of Lᵀ·G_B·L are σ². Each σ is
then off by at most about `floor`² / 2σ, and never by more than `floor` = √(4·u·r·‖A‖_F²·‖B‖_F²), u the rounding of
float64. Where a spectrum reaches down to its floor, `exact` (QR of both factors, SVD of the r x r core) is backward
stable: every σ is right to a few u·‖A‖‖B‖. Only A is factorised: B is all zeros in every fresh adapter.

Everything here is pure: tensors in, tensors out, on any device that has float64, free of scale.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_ROUNDING = torch.finfo(torch.float64).eps
_SAFE = 10.0  # a smallest σ this many floors up has a relative error below 1 %, and the head one near 1e-15
_THIN = 16  # rows up to which numpy's BLAS keeps a symmetric product on the calling thread, and halves its work


class Cores(NamedTuple):
    """Spectra of a batch of modules: `values` (n, r) descend; `certified` (n,) says which rows can be trusted."""

    values: Tensor
    floors: Tensor
    certified: Tensor


class Exact(NamedTuple):
    """The spectrum of one module: `values` (r,) descend, each right to `floor`."""

    values: Tensor
    floor: float


def gram(rows: Tensor) -> Tensor:
    """The products of all rows with each other, rows · rowsᵀ (r, r), of a float64 matrix (r, n)."""
    if rows.device.type == "cpu" and rows.shape[0] <= _THIN:
        view = rows.numpy()
        with np.errstate(all="ignore"):  # infinity less infinity: the caller refuses what is not finite, by name
            return torch.from_numpy(view @ view.T)
    return rows @ rows.mT


def unit(factor: Tensor) -> int:
    """Scale a float64 factor in place by a power of two, so that squares neither overflow nor vanish; its exponent.

    Only float64 files need it: the squares of every narrower number fit. A factor that is zero or not finite stays.
    """
    largest = factor.abs().max()
    if not bool(torch.isfinite(largest)) or not bool(largest):
        return 0
    exponent = int(torch.frexp(largest).exponent)
    torch.ldexp(factor, torch.tensor(-exponent, device=factor.device), out=factor)
    return exponent


def cores(gram_a: Tensor, gram_b: Tensor) -> Cores:
    """The spectra of a batch: `gram_a` and `gram_b` are (n, r, r), finite, on the CPU."""
    r = gram_a.shape[-1]
    norms = (_trace(gram_a).sqrt() * _trace(gram_b).sqrt()).clamp(min=0)
    floors = norms * (4 * _ROUNDING * r) ** 0.5
    lower, info = torch.linalg.cholesky_ex(gram_a)
    whole = info == 0
    # A NaN inside a batch makes the eigensolver return garbage for it without a word.
    core = torch.where(whole[:, None, None], lower.mT @ gram_b @ lower, 0.0)
    values = torch.linalg.eigvalsh(core).clamp(min=0).sqrt().flip(-1)
    certified = (whole & (values[:, -1] >= _SAFE * floors)) | (norms == 0)
    return Cores(values, floors, certified)


def triangle(columns: Tensor) -> Tensor:
    """R of the QR decomposition of a tall finite matrix (n, r), on the CPU: it has the matrix's inner products."""
    triangular: Tensor = torch.linalg.qr(columns, mode="r").R
    return triangular.cpu()


def exact(left: Tensor, right: Tensor) -> Exact:
    """The spectrum of B @ A from the triangles of B and of Aᵀ: about twice the cost of Grams, and no squaring.

    One that lies below its floor as a whole is nothing but rounding, as of a difference of two equals: zeros.
    """
    r = left.shape[1]
    values = torch.linalg.svdvals(left @ right.mT)
    floor = 4 * _ROUNDING * r * float(torch.linalg.matrix_norm(left)) * float(torch.linalg.matrix_norm(right))
    if values.numel() and float(values[0]) <= floor:
        values = torch.zeros_like(values)
    return Exact(torch.nn.functional.pad(values, (0, r - values.numel())), floor)


def _trace(grams: Tensor) -> Tensor:
    return grams.diagonal(dim1=-2, dim2=-1).sum(-1)
