"""Stored numbers as float64, exactly; numpy has no name for half of the formats, so their bits are moved by hand."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradience.audit.spectra.spectrum import Array

# What an array of each format holds: numbers where numpy knows them, bits elsewhere.
STORED: Final[dict[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"), "F8_E4M3": np.dtype("u1"), "F8_E5M2": np.dtype("u1"),
}  # fmt: skip

_BLOCK = 1 << 16  # numbers that pass through a core's cache together


def widen(stored: NDArray[Any], dtype: str, out: Array) -> None:
    """Write the matrix that `stored` holds in the format `dtype` to `out`, of the same shape."""
    with np.errstate(invalid="ignore"):  # a NaN is a number here: the caller refuses it, by name
        if dtype == "BF16":
            _widen_bfloat16(stored, out)
        elif dtype == "F8_E4M3":
            out[...] = _E4M3[stored]
        elif dtype == "F8_E5M2":
            out[...] = (stored.astype(np.uint16) << 8).view(np.float16)  # its upper half
        else:
            out[...] = stored


def _widen_bfloat16(stored: NDArray[Any], out: Array) -> None:
    """The upper half of a float32."""
    rows = max(1, _BLOCK // max(1, stored.shape[1]))
    for start in range(0, len(stored), rows):
        bits = stored[start : start + rows].astype(np.uint32)
        bits <<= 16
        out[start : start + rows] = bits.view(np.float32)


def _e4m3() -> Array:
    """Every float8 with four bits of exponent (bias 7), three of mantissa, no infinity and one NaN per sign."""
    bits = np.arange(128)
    exponent, mantissa = bits >> 3, bits & 7
    values = np.ldexp(np.where(exponent, mantissa + 8.0, mantissa), np.maximum(exponent, 1) - 10)
    values[127] = np.nan
    return np.concatenate([values, -values])


_E4M3: Final = _e4m3()
