"""The complete lines of a journal from a place in it, with the fingerprint of everything before that place."""

import gzip
import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gradience.errors import ChangedError, ReplacedError, TelemetryError
from gradience.vnext import journal
from gradience.vnext.journal import Line

BLOCK_BYTES = 1 << 19  # taken at a time, beside a last long line: memory stays bounded whatever the file's size
LOOK_BYTES = 4096  # of what was passed last: it holds times and steps, so that hardly another line ends alike


class Tail:
    """A place in a journal: `offset` and `line` say how far its lines were passed with `advance`.

    Raises:
        TelemetryError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.line = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self._before = b""  # the end of the last line that was passed
        self._scan: Iterator[Line] = iter(())
        self._identity = _identity(self._stat())
        self._is_compressed = _is_compressed(path)

    @property
    def fingerprint(self) -> str:
        """Of every byte before the place."""
        return self._hash.hexdigest()

    def seek(self, line: int, fingerprint: str) -> Iterator[Line]:
        """Move to a line that was passed before, handing out the lines on the way.

        Raises:
            ChangedError: at its end, when the file has fewer lines or others than those.
        """
        while self.line < line and (block := self.read(line - self.line)):
            yield from block
            self.advance(block)
        if (self.line, self.fingerprint) != (line, fingerprint):
            raise ChangedError(self._how(f"its first {line} lines are not those that were delivered"))

    def read(self, limit: int) -> list[Line]:
        """The next lines, at most `limit`; empty at the end of the file. Pass them before the next read.

        Raises:
            ChangedError: the file is not any more the one whose lines were passed.
            ReplacedError: it still is, and was cut.
            TelemetryError: it cannot be read.
        """
        block = _take(self._scan, limit)
        if not block:
            self._scan = self._ahead()
            block = _take(self._scan, limit)
        self._check()  # after reading: what was read behind a place that has changed counts for nothing
        return block

    def advance(self, lines: Iterable[Line]) -> None:
        """Pass lines that `read` gave, in their order."""
        for line in lines:
            self._hash.update(line.raw)
            self.line, self.offset = line.number, line.end
            self._before = b"" if line.skipped else line.raw[-LOOK_BYTES:]

    def fingerprint_after(self, lines: Iterable[Line]) -> str:
        """The fingerprint that passing these lines will lead to."""
        ahead = self._hash.copy()
        for line in lines:
            ahead.update(line.raw)
        return ahead.hexdigest()

    def fingerprint_at(self, number: int) -> str | None:
        """The fingerprint up to a line that is still to come; None when the file ends before it."""
        ahead = self._hash.copy()
        for line in self._ahead():
            ahead.update(line.raw)
            if line.number == number:
                return ahead.hexdigest()
        return None

    def end(self) -> float:
        """Where the file ends now, as `offset` counts; infinity for a compressed one, whose bytes are others."""
        return math.inf if self._is_compressed else self._stat().st_size

    def remaining(self) -> int:
        """How many complete lines are still to come."""
        return sum(1 for _ in self._ahead())

    def _ahead(self) -> Iterator[Line]:
        return journal.read(self.path, start=self.offset, line=self.line)

    def _check(self) -> None:
        """A live file may be cut or replaced at any time; a new file that begins alike is as good as the old one."""
        now = self._stat()
        if _identity(now) != self._identity:
            fresh = Tail(self.path)
            if self.line and fresh.fingerprint_at(self.line) != self.fingerprint:
                raise ChangedError(self._how("another file has taken its place"))
            self._identity, self._is_compressed = fresh._identity, fresh._is_compressed
        elif self._is_compressed:  # its offsets count other bytes than those of the file
            return
        elif now.st_size < self.offset:
            raise ReplacedError(self._how("it is shorter than what was delivered"))
        elif self._look_back() != self._before:
            raise ReplacedError(self._how("it was cut and has grown again"))

    def _look_back(self) -> bytes:
        """What stands before the place now, as much as is known of what stood there."""
        with journal.open_bytes(self.path) as stream:
            stream.seek(self.offset - len(self._before))
            return stream.read(len(self._before))

    def _stat(self) -> os.stat_result:
        try:
            return self.path.stat()
        except OSError as error:
            raise TelemetryError(f"cannot read {self.path}: {error.strerror or error}") from error

    def _how(self, what: str) -> str:
        return (
            f"cannot go on delivering {self.path}: the file was replaced or truncated, {what}; "
            "if that is meant, deliver everything again with --from-start"
        )


def _take(lines: Iterator[Line], limit: int) -> list[Line]:
    block: list[Line] = []
    size = 0
    while len(block) < limit and size < BLOCK_BYTES and (line := next(lines, None)) is not None:
        block.append(line)
        size += len(line.raw)
    return block


def _is_compressed(path: Path) -> bool:
    with journal.open_bytes(path) as stream:
        return isinstance(stream, gzip.GzipFile)


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino
