"""What an adapter's update is, worked out the slow and obvious way: every product formed whole and decomposed densely.

Nothing here is the auditor's: the config is read by the standard library's JSON, the weights by the libraries that own
their formats. The products are formed in numpy's longdouble, so that neither rounding nor the range of float64 matters.
"""

import math
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from tests.fuzz import reference_foreign, reference_peft
from tests.fuzz.reference_file import UnknownError
from tests.fuzz.reference_peft import Update

_EPS: Final = float(np.finfo(np.float64).eps)
_FINEST: Final = np.finfo(np.longdouble).eps
_LEAST: Final = float(np.finfo(np.float64).smallest_subnormal)


class Expected(msgspec.Struct):
    """One module. `sigma` are the singular values, `error` how far the reference itself may be off."""

    r: int
    alpha: float
    scale: float
    out: int
    into: int
    params: int
    sigma: list[float]
    error: float


def expected(folder: Path, weights: str) -> dict[str, Expected]:
    """The modules of the adapter in `folder` by path; `weights` is the file, where it is not PEFT's.

    Raises:
        UnknownError: nobody may give a number for it.
    """
    is_peft = weights.startswith("adapter_model.")
    updates = reference_peft.updates(folder) if is_peft else reference_foreign.updates(folder / weights)
    if len({update.name for update in updates}) < len(updates):
        raise UnknownError("two modules have one name")
    return {update.name: _expected(update) for update in updates}


def _expected(update: Update) -> Expected:
    if not (np.isfinite(update.a).all() and np.isfinite(update.b).all()):
        raise UnknownError(f"{update.name}: not finite")
    out, into, r = update.b.shape[0], update.a.shape[1], update.r
    sigma, error = _spectrum(update)
    return Expected(
        r=r,
        alpha=update.alpha,
        scale=update.scale,
        out=out,
        into=into,
        params=0 if update.is_copy else r * (out + into),
        sigma=[*sigma, *[0.0] * (r - len(sigma))][:r],
        error=error,
    )


def _spectrum(update: Update) -> tuple[list[float], float]:
    """Singular values of scale * b @ a, and how far rounding may have moved them.

    Factors as large as float64 allows have a product that only longdouble holds; it is brought to 1 for the SVD.
    """
    delta = update.b @ update.a
    largest = np.abs(delta).max(initial=0)
    if not largest:
        return [], 0.0
    formed = _FINEST * update.r * np.linalg.norm(update.b) * np.linalg.norm(update.a)  # a difference of equals is not 0
    unit = np.linalg.svd((delta / largest).astype(np.float64), compute_uv=False)
    factor = np.abs(np.longdouble(update.scale)) * largest
    with np.errstate(over="ignore"):
        sigma = [float(value) for value in (unit.astype(np.longdouble) * factor)]
        error = float((8 * _EPS * math.sqrt(max(delta.shape)) * unit[0] + formed / largest) * factor)
    if not math.isfinite(sigma[0]):
        raise UnknownError(f"{update.name}: the update overflows float64")
    return sigma, error + 4 * _LEAST
