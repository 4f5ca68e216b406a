"""The adapter's identity: one hash over what it weighs and how it is configured, read in bounded memory.

BLAKE3, because SHA-256 took nearly half of an audit's time: it is two and a half times as fast on one core.
"""

import time
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3

from gradience.audit.disk.folder import Files
from gradience.audit.refusal import refuse

_CHUNK = 1 << 20  # large enough that hashing releases the interpreter lock almost all the time
_SETTLED_NS: Final = 2_000_000_000  # clocks of file systems tick coarsely: two writes may leave one time


class _Stamp(NamedTuple):
    """A file as it was when it was looked at: it changes with every write to it."""

    path: Path
    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def of(files: Files) -> str:
    """`blake3:<hex>` over the bytes of the weights, then of the config; asked again, unchanged files are not read.

    Raises:
        AdapterError: a file cannot be read.
    """
    try:
        stamps = tuple(map(_stamp, dict.fromkeys((files.weights, files.config))))  # one file may be both
        settled = max(stamp.changed_ns for stamp in stamps) < time.time_ns() - _SETTLED_NS
        return _remembered(*stamps) if settled else _hash(*stamps)
    except OSError as error:
        raise refuse(files.given, f"it cannot be read ({error.strerror})", "check its permissions") from error


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return _Stamp(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _hash(*stamps: _Stamp) -> str:
    total = blake3()
    for stamp in stamps:
        _feed(total, stamp.path)
    return f"blake3:{total.hexdigest()}"


_remembered = lru_cache(maxsize=8)(_hash)


def _feed(total: blake3, path: Path) -> None:
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total.update(buffer[:count])
