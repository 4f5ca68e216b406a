"""Appending whole lines to a telemetry file: one line is one write on an O_APPEND descriptor."""

import errno
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from gradience.errors import TelemetryError
from gradience.vnext import codec, runs, seal
from gradience.vnext.journal import LINE_LIMIT
from gradience.vnext.types import Seal

_FLAGS: Final = os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_ATTEMPTS: Final = 3  # a short write on a disk that is not full comes from a signal; it does not repeat for ever

_log = logging.getLogger(__name__)


class Appender:
    """An open telemetry file that lines are added to; nothing in it is ever changed.

    A file that does not end with a newline was torn by a crash: the first line is written with a newline before it,
    so that the torn one stays alone. Not thread-safe.

    Raises:
        TelemetryError: The file cannot be opened for writing, or is missing and not to be made.
    """

    def __init__(self, path: str | Path, *, create: bool = False) -> None:
        self.path = Path(path)
        try:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, _FLAGS | (os.O_CREAT if create else 0), 0o666)
        except FileNotFoundError:
            raise TelemetryError(f"no such telemetry file: {path}; check the path") from None
        except OSError as error:
            raise TelemetryError(f"cannot write telemetry to {path}: {error.strerror or error}") from error
        self._torn = self._is_torn()

    def append(self, line: bytes) -> None:
        """Write one line, which ends with its newline. A short write is made good by writing the whole line again.

        Raises:
            OSError: The line could not be written whole; the next one starts on a new line.
        """
        if self._torn or os.write(self._descriptor, line) != len(line):
            self._write_alone(line)

    def stat(self) -> os.stat_result:
        """About the file that is open, whatever name it has."""
        return os.fstat(self._descriptor)

    def lines(self, start: int) -> Iterator[bytes]:
        """The lines of the file that is open, from a byte offset on; one without a newline is none."""
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            stream.seek(start)
            yield from (line for line in stream if line.endswith(b"\n"))

    def seal(self) -> Seal | None:
        """The seal of the lines in the file; None of one that cannot be read back, or not in time."""
        try:
            if not stat.S_ISREG(self.stat().st_mode):
                return None  # to read a pipe would wait for its writer, which is this one
            with os.fdopen(os.dup(self._descriptor), "rb", buffering=0) as stream:
                stream.seek(0)
                return seal.take(iter(partial(stream.read, seal.PIECE), b""))
        except OSError as error:
            _log.debug("%s is not sealed: %s", self.path, error)
            return None

    def become(self, heir: "Appender") -> None:
        """Go on with the file of another appender, which is closed by that."""
        self.close()
        self._descriptor, heir._descriptor = heir._descriptor, -1
        self._torn = heir._torn

    def sync(self) -> None:
        """Wait until the disk has what was written; a file that is no file on a disk has nothing to wait for."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS, errno.ENOTSUP):
                raise

    def close(self) -> None:
        """Close the file; may be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write_alone(self, line: bytes) -> None:
        """Write the line after a newline, which ends whatever part of a line stands before it."""
        self._torn = True
        for _ in range(_ATTEMPTS):
            if os.write(self._descriptor, b"\n" + line) == len(line) + 1:
                self._torn = False
                return
        raise OSError(errno.EIO, "only parts of the line could be written")

    def _is_torn(self) -> bool:
        about = self.stat()
        if not stat.S_ISREG(about.st_mode) or not about.st_size:
            return False
        os.lseek(self._descriptor, -1, os.SEEK_END)
        return os.read(self._descriptor, 1) != b"\n"


def append_events(path: str | Path, run_id: str | None, events: Iterable[Mapping[str, Any]]) -> None:
    """Add events to a telemetry file that exists, also while a recorder is writing it.

    Each event is a mapping with `event`, its payload, and `step` and `ts` where they matter (now, otherwise). They
    belong to `run_id`, by default to the last run in the file. Everything is encoded before anything is written.

    Raises:
        TelemetryError: The file is missing, is not telemetry, holds no run to add to, or cannot be written.
    """
    runs.check(path)
    if run_id is None:
        last = runs.last(path)
        if last is None:
            raise TelemetryError(f"cannot append to {path}: it holds no run yet; name a run_id")
        run_id = last.run_id
    encoder = codec.Encoder()
    lines = [_encoded(encoder, run_id, event, path) for event in events]
    appender = Appender(path)
    try:
        for line in lines:
            appender.append(line)
        appender.sync()
    except OSError as error:
        raise TelemetryError(f"cannot append to {path}: {error.strerror or error}") from error
    finally:
        appender.close()


def _encoded(encoder: codec.Encoder, run_id: str, event: Mapping[str, Any], path: str | Path) -> bytes:
    payload = {key: value for key, value in event.items() if key not in ("event", "step", "ts", "run_id", "schema")}
    ts = float(event.get("ts") or time.time())
    line = encoder.event(ts, run_id, str(event["event"]), event.get("step"), payload)
    if len(line) > LINE_LIMIT:
        raise TelemetryError(f"cannot append to {path}: a {event['event']} event of {len(line)} bytes is too long")
    return line
