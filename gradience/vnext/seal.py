"""The seal that an end puts on the lines before it: `head -n LINES run.jsonl | sha256sum` checks it without Gradience.

It tells that these lines are as they were when the run ended, not who wrote them: whoever changes one on purpose can
write another seal.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from gradience.vnext import journal
from gradience.vnext.types import Seal

TAKE_S: Final = 10.0  # to read a file back at its run's end: some gigabytes, or a disk that does not answer
PIECE: Final = 1 << 20  # bytes read at a time


def take(pieces: Iterable[bytes], limit_s: float = TAKE_S) -> Seal:
    """The seal of every complete line.

    Raises:
        TimeoutError: That would take longer than the limit.
    """
    return _over(_in_time(pieces, time.monotonic() + limit_s))


def holds(path: str | Path, seal: Seal) -> bool:
    """Whether the file still begins with the lines that were sealed.

    Raises:
        TelemetryError: It cannot be read.
    """
    return _over(journal.Scan(path).pieces(), seal.lines) == seal


def _over(pieces: Iterable[bytes], lines: int | None = None) -> Seal:
    """The seal of the first `lines`, or of as many as there are."""
    running, count = hashlib.sha256(), 0
    whole = running.copy()
    for piece in pieces:
        if count == lines:
            break
        found = piece.count(b"\n")
        if lines is not None and count + found >= lines:
            piece, found = piece[: _after(piece, lines - count)], lines - count
        cut = piece.rfind(b"\n") + 1
        if cut:
            running.update(piece[:cut])
            whole, count = running.copy(), count + found
        running.update(piece[cut:])
    return Seal(lines=count, sha256=whole.hexdigest())


def _after(piece: bytes, newlines: int) -> int:
    end = 0
    for _ in range(newlines):
        end = piece.index(b"\n", end) + 1
    return end


def _in_time(pieces: Iterable[bytes], until: float) -> Iterator[bytes]:
    for piece in pieces:
        if time.monotonic() > until:
            raise TimeoutError("to read it back takes too long")
        yield piece
