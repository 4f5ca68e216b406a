"""W&B's transaction log, the `.wandb` file of a run, read record by record while it grows.

It has the block format of LevelDB's logs: a record is one chunk, or several that end at a block's border. The end may
be torn: what is not whole yet is left for the next look.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_SIGN: Final = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
_HEAD: Final = 7  # bytes of the file's own header, and of each chunk's: checksum, length, kind
_BLOCK: Final = 32_768
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class Log:
    """One file, from its start on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = _HEAD

    def payloads(self, most: int = -1) -> Iterator[bytes]:
        """The records that came since the last look, as they are stored; those in the next `most` bytes, if given."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._place)
                data = file.read(most)
        except FileNotFoundError:
            return
        yield from self._records(data, self._place)

    def _records(self, data: bytes, base: int) -> Iterator[bytes]:
        place = 0
        parts: list[bytes] = []
        while True:
            left = _BLOCK - (base + place) % _BLOCK
            if left < _HEAD:  # a block's rest that has no room for a chunk
                place += left
                continue
            if place + _HEAD > len(data):
                return
            _checksum, length, kind = struct.unpack_from("<IHB", data, place)
            end = place + _HEAD + length
            if end > len(data) or not _FULL <= kind <= _LAST:
                return
            if kind in (_FULL, _FIRST):
                parts = []
            parts.append(data[place + _HEAD : end])
            place = end
            if kind in (_FULL, _LAST):
                self._place = base + place
                yield b"".join(parts)


def write(path: Path, payloads: Iterable[bytes]) -> None:
    """Replace a file by these records, whole and durably."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(_framed(payloads))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _framed(payloads: Iterable[bytes]) -> bytes:
    out = bytearray(_SIGN)
    for payload in payloads:
        rest, kind = payload, 0
        while kind not in (_FULL, _LAST):
            if (left := _BLOCK - len(out) % _BLOCK) < _HEAD:
                out += bytes(left)
                left = _BLOCK
            part, rest = rest[: left - _HEAD], rest[left - _HEAD :]
            kind = (_LAST if kind else _FULL) if not rest else (_MIDDLE if kind else _FIRST)
            checksum = zlib.crc32(part, zlib.crc32(bytes([kind])))
            out += struct.pack("<IHB", checksum, len(part), kind) + part
    return bytes(out)
