"""Norms that were measured before, by the identity of the file that a tensor is in; one small JSON per file.

A cache that cannot be read, is damaged or cannot be written costs time, never an audit.
"""

import hashlib
import logging
import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gradience import cache_home
from gradience.audit.base.measured import ALGORITHM, Norms

_LOG = logging.getLogger(__name__)
_HEADER_READ = 1 << 20  # bytes of a header that are part of the identity


class _Kept(msgspec.Struct, frozen=True):
    identity: str
    norms: dict[str, Norms]  # by the tensor's key


_DECODER = msgspec.json.Decoder(_Kept)


class Shelf:
    """What is known of the tensors of one weights file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._identity = _identity(file)
        name = hashlib.sha256(self._identity.encode()).hexdigest()[:32]
        self._path = cache_home.folder() / "base-norms" / f"{name}.json"

    def read(self) -> dict[str, Norms]:
        """The norms by key; none where nothing is kept that can be trusted."""
        try:
            kept = _DECODER.decode(self._path.read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            _LOG.debug("no norms of base weights in %s: %s", self._path, error)
            return {}
        return kept.norms if kept.identity == self._identity and all(map(_is_sound, kept.norms.values())) else {}

    def add(self, norms: Mapping[str, Norms]) -> None:
        """Keep these too, unless the file was changed while it was measured."""
        try:
            if _identity(self._file) != self._identity:
                return
            cache_home.keep(self._path, msgspec.json.encode(_Kept(self._identity, {**self.read(), **norms})))
        except OSError as error:
            _LOG.debug("norms of base weights are not kept in %s: %s", self._path, error)


def _identity(file: Path) -> str:
    """Changes with every other content: the time of the last change of state cannot be set back, unlike the others.

    Where a hub's snapshot links to files that are named by their hash, that name is part of it.
    """
    place = file.resolve()
    state = place.stat()
    with place.open("rb") as weights:
        header = hashlib.sha256(weights.read(_HEADER_READ)).hexdigest()
    return f"{ALGORITHM}:{place}:{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}:{header}"


def _is_sound(norms: Norms) -> bool:
    return all(math.isfinite(value) and value >= 0 for value in (norms.sigma_max, norms.fro, norms.error))
