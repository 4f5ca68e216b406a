"""float64 as the numbers of a stored format, to the nearest and ties to even; the way back is `widening`."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradience.audit.spectra.spectrum import Array
from gradience.audit.tensors.widening import STORED

FORMATS: Final = ("F64", "F32", "F16", "BF16")


def narrow(values: Array, dtype: str) -> NDArray[Any]:
    """`values` in the format `dtype`, one of `FORMATS`: bits where numpy has no name for it."""
    with np.errstate(over="ignore"):  # infinity: the caller looks at what came out
        narrowed: NDArray[Any] = _bfloat16(values) if dtype == "BF16" else values.astype(STORED[dtype])
        return narrowed


def _bfloat16(values: Array) -> NDArray[Any]:
    """The upper half of a float32, which is first rounded to odd: two roundings would not be one to the nearest."""
    single = values.astype(np.float32)
    bits = single.view(np.uint32).copy()
    inexact = single.astype(np.float64) != values
    too_far = inexact & (np.abs(single) > np.abs(values))
    bits[too_far] -= 1
    bits[inexact] |= 1
    rounding = ((bits >> 16) & 1) + 0x7FFF
    upper: NDArray[Any] = ((bits + rounding) >> 16).astype(np.uint16)
    return upper
