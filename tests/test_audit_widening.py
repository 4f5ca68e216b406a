"""Stored numbers as float64, against torch's own conversion of every bit pattern."""

import numpy as np
import pytest
import torch

from gradience.audit.tensors import widening

FORMATS = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


@pytest.mark.parametrize("dtype", FORMATS)
def test_every_number_of_a_short_format_is_exact(dtype: str) -> None:
    """Subnormal, infinite and not a number included; to the bit, zeros with their sign."""
    stored = widening.STORED[dtype]
    patterns = np.arange(256**stored.itemsize, dtype=f"u{stored.itemsize}")
    truth = torch.from_numpy(patterns.view(f"i{stored.itemsize}")).view(FORMATS[dtype]).double().numpy()
    found = np.empty((2, patterns.size // 2))
    widening.widen(patterns.view(stored).reshape(2, -1), dtype, found)
    np.testing.assert_array_equal(found.ravel(), truth)
    np.testing.assert_array_equal(np.signbit(found.ravel()) & ~np.isnan(truth), np.signbit(truth) & ~np.isnan(truth))


@pytest.mark.parametrize("dtype", ["F64", "F32", *FORMATS])
def test_a_strided_part_goes_to_a_strided_place(dtype: str) -> None:
    """Columns of a stacked factor into columns of the scratch; the rest stays as it was."""
    stored = np.arange(24, dtype=widening.STORED[dtype]).reshape(4, 6)
    whole, part, place = np.empty((4, 6)), np.empty((4, 3)), np.full((4, 5), 7.0)
    widening.widen(stored, dtype, whole)
    widening.widen(stored[:, ::2], dtype, place[:, 1:4])
    part[...] = place[:, 1:4]
    assert part.tolist() == whole[:, ::2].tolist()
    assert place[:, [0, 4]].tolist() == [[7.0, 7.0]] * 4
