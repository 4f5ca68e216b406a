"""A safetensors file written tensor by tensor: shapes first, then the bytes in any order, one tensor in memory."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import msgspec

from gradience.audit.tensors.safetensors_file import ITEM_BYTES

_ALIGNED = 8  # bytes: loaders map the data where it lies


class Entry(msgspec.Struct, frozen=True):
    """What a tensor will be."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its size in the file."""
        return ITEM_BYTES[self.dtype] * math.prod(self.shape)


class SafetensorsWriter:
    """Writes the file `path`; when its `with` block ends well, every entry was put and the disk has it."""

    def __init__(self, path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> None:
        self._entries, self._places = entries, dict[str, int]()
        header: dict[str, object] = {"__metadata__": dict(metadata)}
        place = 0
        for key, entry in entries.items():
            self._places[key] = place
            header[key] = {
                "dtype": entry.dtype,
                "shape": entry.shape,
                "data_offsets": (place, place := place + entry.nbytes),
            }
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-len(raw) % _ALIGNED)
        self._data = 8 + len(raw)
        self._file = path.open("xb")
        self._file.write(len(raw).to_bytes(8, "little") + raw)
        self._file.truncate(self._data + place)

    def put(self, key: str, data: bytes | memoryview) -> None:
        """The bytes of one tensor, row after row."""
        entry = self._entries[key]
        if len(data) != entry.nbytes:
            raise ValueError(f"{key} takes {entry.nbytes} bytes, not {len(data)}")
        self._file.seek(self._data + self._places.pop(key))
        self._file.write(data)

    def __enter__(self) -> "SafetensorsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self._places:
                raise ValueError(f"{len(self._places)} tensors were never put, first {next(iter(self._places))}")
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()
