"""Factors off the disk, one at a time, in memory that is used again and again.

A matrix that `read` returns is valid until the next call: peak memory is that of the largest factor.
"""

from pathlib import Path

import torch
from torch import Tensor as TorchTensor

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


class Reader:
    """Reads factors from any of an adapter's files; used by one thread at a time. `largest` is in bytes."""

    def __init__(self, largest: int) -> None:
        self._buffer = torch.empty(-(-largest // 8) * 8, dtype=torch.uint8, device="cpu")
        self._files: dict[Path, _File] = {}
        self._last: Tensor | None = None

    def read(self, factor: Tensor) -> TorchTensor:
        """The factor as it is stored, its dimensions after the first flattened, on the CPU; do not write to it.

        Experts share a factor: the one that was read last is not read again.

        Raises:
            AdapterError: the file cannot be read, or ends too early.
        """
        if factor is not self._last:
            self._last = None  # a read that fails leaves nothing behind that looks read
            self._matrix = self._file(factor.file).read(factor)
            self._last = factor
        return self._matrix

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()

    def _file(self, path: Path) -> "_File":
        if path not in self._files:
            try:
                self._files[path] = _File(path, self._buffer)
            except OSError as error:
                raise refuse(path, f"it cannot be read ({error.strerror})", "check its permissions") from error
        return self._files[path]


class _File:
    def __init__(self, path: Path, buffer: TorchTensor) -> None:
        self._path = path
        self._bytes = memoryview(buffer.numpy().data)
        self._views = {name: buffer.view(dtype) for name, dtype in _DTYPES.items()}
        self._file = path.open("rb", buffering=0)  # a mapping would count every page of the file as ours

    def read(self, factor: Tensor) -> TorchTensor:
        self._file.seek(factor.offset)
        place = 0
        while place < factor.nbytes:
            count = self._file.readinto(self._bytes[place : factor.nbytes])
            if not count:
                raise refuse(self._path, "it was cut short while it was read", "audit it when nothing writes to it")
            place += count
        view, height = self._views[factor.dtype], factor.shape[0]
        width = factor.nbytes // view.itemsize // height
        return view.as_strided((height, width), (width, 1))

    def close(self) -> None:
        self._file.close()
