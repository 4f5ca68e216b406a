"""Audits that were made before, by the hash of what they were made of; the numbers only, never the advice on them.

An entry is a file that appears whole or not at all. One that cannot be read is as good as none: it is made again.
"""

import hashlib
import zlib
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from gradience import __version__, cache_home
from gradience.audit import columns
from gradience.audit.record import AUDIT_VERSION, AuditRecord
from gradience.errors import InputError

FOLDER: Final = "audits"  # below the cache folder
_QUICKLY: Final = 1  # zlib's level; more effort gains little on numbers, and its checksum finds damage at any level


class Cache:
    """A folder of audits; made at the first `put`. Several processes and hosts may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> AuditRecord | None:
        """The audit kept under `key`."""
        try:
            return columns.unpack(msgspec.msgpack.decode(zlib.decompress(self._path(key).read_bytes()), type=dict))
        except (OSError, ValueError, zlib.error, InputError):  # msgspec's errors are ValueErrors
            return None

    def put(self, key: str, record: AuditRecord) -> bool:
        """Keep an audit, without its singular values; False where it cannot be written: an audit is worth more."""
        content = zlib.compress(msgspec.msgpack.encode(columns.pack(record)), _QUICKLY)
        path = self._path(key)
        try:
            cache_home.keep(path, content)
        except OSError:
            return False
        return True

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.audit"  # a directory of 100,000 files is slow in places


def key(fingerprint: str, *facts: Any) -> str:
    """The name of an audit: of which bytes, with which options, by which release: each may mend a number."""
    measures = (__version__, AUDIT_VERSION, _shape())
    said = msgspec.json.encode([fingerprint, measures, *facts], order="deterministic", enc_hook=str)
    return hashlib.sha256(said).hexdigest()


@cache
def _shape() -> str:
    """The fields of a record: an entry from before a field was added would lack it without a word."""
    return hashlib.sha256(msgspec.json.encode(msgspec.json.schema(AuditRecord))).hexdigest()
