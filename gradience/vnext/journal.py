"""Reading the lines of a telemetry file, live or finished, plain or gzip, or of stdin.

A line counts when its newline is there: an unterminated tail is not a line yet, and the next reading that starts at
the last line's end gets it whole. Memory stays bounded whatever the file holds.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, cast

import msgspec

from gradience.errors import TelemetryError

STDIN: Final = "-"
GZIP: Final = b"\x1f\x8b"
LINE_LIMIT: Final = 1 << 25  # 32 MiB: four times the audit event of an adapter with 10,000 modules

_CHUNK: Final = 1 << 16  # its lines stay in the processor's cache until they are decoded: twice as fast as 1 MiB
_HEAD: Final = 200  # bytes kept of a line over the limit, to tell what it was


class Line(msgspec.Struct, frozen=True):
    """A complete line: its number from 1, the byte offset just after its newline, and its bytes with the newline.

    `skipped` bytes of the line are left out of `raw`: leading NULs, or all but the head of a line over `LINE_LIMIT`
    (which then has no newline). In a gzip file offsets count decompressed bytes.
    """

    number: int
    end: int
    raw: bytes
    skipped: int = 0


class Scan:
    """One reading of a file from a byte offset to its present end, line by line.

    `start` and `line` are the `end` and `number` of the last line already read. After the iteration, `end` and `line`
    are those of the last complete line, `tail` counts the bytes after it, and `fault` tells why a damaged archive
    ended early.
    """

    def __init__(self, path: str | Path, *, start: int = 0, line: int = 0) -> None:
        self.path = str(path)
        self.end = start
        self.line = line
        self.tail = 0
        self.fault: str | None = None

    def __iter__(self) -> Iterator[Line]:
        """The lines; raises TelemetryError if the file cannot be read."""
        for block, skipped in self.blocks():
            for raw in io.BytesIO(block):
                self.line += 1
                self.end += len(raw) + skipped
                yield Line(self.line, self.end, raw, skipped)
                skipped = 0

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """Whole lines in large pieces, each with how many bytes of its first line are left out.

        The head of a line over the limit is a piece of its own, and has no newline. `line` and `end` stay as they are:
        whoever takes the pieces apart keeps them.
        """
        rest = _Rest()
        for chunk in self.pieces():
            cut = chunk.rfind(b"\n") + 1
            if not cut:
                rest.add(chunk)
                continue
            first = chunk.find(b"\n") + 1 if rest.size else 0
            if first:
                yield rest.finish(chunk[:first])
            if cut > first:
                yield chunk[first:cut], 0
            rest = _Rest()
            rest.add(chunk[cut:])
        self.tail = rest.size

    def pieces(self) -> Iterator[bytes]:
        """The bytes as they come, decompressed, whatever lines they make; a damaged archive ends early."""
        try:
            with open_bytes(self.path) as stream:
                _skip(stream, self.end)
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.fault = f"the compressed file is damaged: {error}"
        except OSError as error:
            raise TelemetryError(f"cannot read {self.path}: {error.strerror or error}") from error


def read(path: str | Path, *, start: int = 0, line: int = 0) -> Iterator[Line]:
    """The complete lines after the byte offset `start`, where `line` lines stand before it.

    Raises:
        TelemetryError: The file is missing or cannot be read.
    """
    return iter(Scan(path, start=start, line=line))


@contextmanager
def open_bytes(path: str | Path) -> Iterator[io.BufferedIOBase]:
    """The file's bytes, decompressed if it is gzip by its first two; `-` is stdin.

    Raises:
        TelemetryError: The file is missing, a directory, or not readable.
    """
    with ExitStack() as stack:
        stream = _open_stdin() if str(path) == STDIN else _open_file(Path(path))
        # stdin is not ours to close
        stack.callback(stream.detach if str(path) == STDIN else stream.close)
        if stream.peek(2).startswith(GZIP):
            yield stack.enter_context(gzip.GzipFile(fileobj=stream))
        else:
            yield stream


class _Rest:
    """The beginning of a line whose newline has not come yet: never more of it than the limit."""

    def __init__(self) -> None:
        self.size = 0
        self._kept = bytearray()

    def add(self, piece: bytes) -> None:
        """Take the next bytes; NULs at the line's head, which a crash of the machine leaves, are only counted."""
        self.size += len(piece)
        if len(self._kept) <= LINE_LIMIT:
            self._kept += piece if self._kept else piece.lstrip(b"\0")

    def finish(self, piece: bytes) -> tuple[bytes, int]:
        """The line that these last bytes complete, and how many of its bytes are left out."""
        self.add(piece)
        raw = bytes(self._kept if len(self._kept) <= LINE_LIMIT else self._kept[:_HEAD])
        return raw, self.size - len(raw)


def _open_stdin() -> io.BufferedReader:
    return io.BufferedReader(cast("io.RawIOBase", sys.stdin.buffer))


def _open_file(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise TelemetryError(f"no such telemetry file: {path}; check the path") from None
    except IsADirectoryError:
        raise TelemetryError(f"cannot read {path}: it is a directory; name the .jsonl file in it") from None
    except OSError as error:
        raise TelemetryError(f"cannot read {path}: {error.strerror or error}") from error


def _skip(stream: io.BufferedIOBase, count: int) -> None:
    if count and stream.seekable():
        stream.seek(count)
        return
    while count > 0 and (passed := stream.read(min(count, _CHUNK))):
        count -= len(passed)
