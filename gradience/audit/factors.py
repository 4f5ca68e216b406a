"""Factors off the disk, one at a time, in memory that is used again and again.

A tensor that `read` returns is valid until the next call: peak memory is that of the largest factor.
"""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor as TorchTensor

from gradience.audit import torch_file
from gradience.audit.refusal import refuse
from gradience.audit.safetensors_file import Tensor

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


class Reader(Protocol):
    """Reads the factors of one file, which are matrices; used by one thread at a time."""

    def read(self, factor: Tensor) -> TorchTensor:
        """The factor as it is stored, on the CPU; do not write to it, do not keep it."""

    def close(self) -> None:
        """Let go of the file."""


def reader(weights: Path, largest: int) -> Reader:
    """A reader for `weights`, whose largest factor has `largest` bytes."""
    return _Safetensors(weights, largest) if weights.suffix == ".safetensors" else _Bin(weights)


class _Safetensors:
    def __init__(self, weights: Path, largest: int) -> None:
        self._path = weights
        buffer = torch.empty(-(-largest // 8) * 8, dtype=torch.uint8, device="cpu")
        self._bytes = memoryview(buffer.numpy().data)
        self._views = {name: buffer.view(dtype) for name, dtype in _DTYPES.items()}
        self._file = weights.open("rb", buffering=0)  # a mapping would count every page of the file as ours

    def read(self, factor: Tensor) -> TorchTensor:
        self._file.seek(factor.offset)
        place = 0
        while place < factor.nbytes:
            count = self._file.readinto(self._bytes[place : factor.nbytes])
            if not count:
                raise refuse(self._path, "it was cut short while it was read", "audit it when nothing writes to it")
            place += count
        return self._views[factor.dtype].as_strided(factor.shape, (factor.shape[1], 1))

    def close(self) -> None:
        self._file.close()


class _Bin:
    def __init__(self, weights: Path) -> None:
        self._tensors = torch_file.tensors(weights)

    def read(self, factor: Tensor) -> TorchTensor:
        return self._tensors[factor.key].detach()

    def close(self) -> None:
        self._tensors = {}
