"""Factors off the disk, one at a time, in memory that is used again and again.

A matrix that `read` returns is valid until the next call: peak memory is that of the largest factor.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradience.audit.refusal import refuse
from gradience.audit.tensors.safetensors_file import Tensor
from gradience.audit.tensors.widening import STORED


class Reader:
    """Reads factors from any of an adapter's files; used by one thread at a time. `largest` is in bytes."""

    def __init__(self, largest: int) -> None:
        self._buffer = np.empty(largest, dtype=np.uint8)
        self._files: dict[Path, _File] = {}
        self._last: Tensor | None = None

    def read(self, factor: Tensor) -> NDArray[Any]:
        """The factor as `widening.STORED` has it, its dimensions after the first flattened; do not write to it.

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
    def __init__(self, path: Path, buffer: NDArray[np.uint8]) -> None:
        self._path = path
        self._buffer = buffer
        self._file = path.open("rb", buffering=0)  # a mapping would count every page of the file as ours

    def read(self, factor: Tensor) -> NDArray[Any]:
        part = self._buffer[: factor.nbytes]
        self._file.seek(factor.offset)
        self._fill(part.data)
        numbers = part.view(STORED[factor.dtype])
        height = factor.shape[0]
        matrix: NDArray[Any] = numbers.reshape(-1, height).T if factor.by_columns else numbers.reshape(height, -1)
        return matrix

    def close(self) -> None:
        self._file.close()

    def _fill(self, part: memoryview) -> None:
        place = 0
        while place < len(part):
            count = self._file.readinto(part[place:])
            if not count:
                raise refuse(self._path, "it was cut short while it was read", "audit it when nothing writes to it")
            place += count
