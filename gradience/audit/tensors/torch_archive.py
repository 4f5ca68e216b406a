"""The directory of a torch archive, which is a zip file whose entries are stored as they are.

Compressed or overlapping entries, with which a small file unpacks into a huge one, do not pass.
"""

import struct
from typing import BinaryIO, Final

import msgspec

_END: Final = struct.Struct("<4s4H2LH")  # end of the central directory
_LOCATOR: Final = struct.Struct("<4sLQL")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")  # of the central directory
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LIMIT: Final = 8 << 20  # bytes of a directory: that of 80,000 tensors
_COMMENT: Final = 1 << 16  # the longest that may stand at the end of the file


class Entry(msgspec.Struct, frozen=True):
    """A file of the archive: `header` is the place of its header, before its data."""

    header: int
    nbytes: int


def entries(file: BinaryIO, size: int) -> dict[str, Entry]:
    """The files of the archive by name, without the name of the folder around them all.

    Raises:
        ValueError: it is damaged, or no archive of torch; the message says why.
    """
    place, length = _directory(file, size)
    if length > _LIMIT:
        raise ValueError("its directory is larger than that of any adapter")
    file.seek(place)
    found = _walk(file.read(length))
    if sum(entry.nbytes for entry in found.values()) > size:
        raise ValueError("its files overlap")
    return found


def data(file: BinaryIO, entry: Entry) -> int:
    """The place of the entry's first byte.

    Raises:
        ValueError: its header is damaged.
    """
    file.seek(entry.header)
    raw = file.read(_LOCAL.size)
    if len(raw) < _LOCAL.size or not raw.startswith(b"PK\x03\x04"):
        raise ValueError("a file in it has no header")
    *_, name, extra = _LOCAL.unpack(raw)
    return entry.header + _LOCAL.size + int(name) + int(extra)


def _directory(file: BinaryIO, size: int) -> tuple[int, int]:
    start = max(0, size - _COMMENT - _END.size - _LOCATOR.size - _END_64.size)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END.size + 4)
    if end < 0:
        raise ValueError("its directory is missing: it is truncated")
    *_, length, place, _comment = _END.unpack_from(tail, end)
    locator = end - _LOCATOR.size
    if locator >= 0 and tail.startswith(b"PK\x06\x07", locator):
        return _directory_64(file, _LOCATOR.unpack_from(tail, locator)[2])
    return place, length


def _directory_64(file: BinaryIO, place: int) -> tuple[int, int]:
    file.seek(place)
    raw = file.read(_END_64.size)
    if len(raw) < _END_64.size or not raw.startswith(b"PK\x06\x06"):
        raise ValueError("its directory is damaged")
    *_, length, start = _END_64.unpack(raw)
    return start, length


def _walk(raw: bytes) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    place = 0
    while place < len(raw):
        if len(raw) - place < _ENTRY.size or not raw.startswith(b"PK\x01\x02", place):
            raise ValueError("its directory is damaged")
        fields = _ENTRY.unpack_from(raw, place)
        flags, method, packed, nbytes = fields[3], fields[4], fields[8], fields[9]
        if method or flags & 1 or packed != nbytes:
            raise ValueError("its files are compressed or encrypted, which torch never does")
        stop = place + _ENTRY.size + fields[10]
        path = raw[place + _ENTRY.size : stop].decode()
        name = path.partition("/")[2] or path
        if name in found:
            raise ValueError("two of its files have one name")
        found[name] = Entry(fields[16], nbytes)
        place = stop + fields[11] + fields[12]
    return found
