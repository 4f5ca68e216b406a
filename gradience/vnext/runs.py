"""Which runs a telemetry file holds, found without decoding what lies between their starts and ends."""

import io
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from gradience.errors import TelemetryError
from gradience.vnext import codec, journal
from gradience.vnext.types import AnyEvent, RunEnd, RunStart, UnknownEvent

_OPENING: Final = b'{"schema"'
_PROBED: Final = 20  # lines that a file may start with before the first that is telemetry: torn ones, blanks


class LastRun(msgspec.Struct, frozen=True):
    """The run that started last; `starts` counts those of every run in the file."""

    run_id: str
    starts: int = 0


def last(path: str | Path) -> LastRun | None:
    """The run that started last, or, in a file without any start, the run of its last event.

    Raises:
        TelemetryError: The file cannot be read.
    """
    started = [event.run_id for event in _marked(path, RunStart)]
    return LastRun(started[-1], len(started)) if started else _without_start(path)


def status(path: str | Path, run_id: str) -> str | None:
    """How a run ended; None if it never did, or was started again after that.

    Raises:
        TelemetryError: The file cannot be read.
    """
    boundaries = [event for event in _marked(path, RunStart, RunEnd) if event.run_id == run_id]
    return boundaries[-1].status if boundaries and isinstance(boundaries[-1], RunEnd) else None


def check(path: str | Path) -> None:
    """Refuse a file that is not telemetry, so that nothing is ever appended to somebody's data.

    An empty file passes, and so does one that a crash left with nothing but the beginning of its first line.

    Raises:
        TelemetryError: The file is missing, compressed, or holds something else; or it is no file on a disk.
    """
    if Path(path).exists() and not Path(path).is_file():  # reading a pipe or a device may never end
        raise TelemetryError(f"cannot append to {path}: it is not a regular file; name the .jsonl of a run")
    head = _head(Path(path))
    if head.startswith(journal.GZIP):
        raise TelemetryError(f"cannot append to {path}: it is compressed; unpack it first")
    probed = [line for line in islice(journal.read(path), _PROBED) if line.raw.strip()]
    if any(_event(line.raw) for line in probed):
        return
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\0 \r\n")
    if probed or not (text.startswith(_OPENING) or _OPENING.startswith(text)):
        raise TelemetryError(f"cannot append to {path}: it is not a telemetry file; name another one, or a new one")


def _marked(path: str | Path, *kinds: type[AnyEvent]) -> Iterator[AnyEvent]:
    """The events of these kinds: only lines that hold such a name are decoded."""
    marks = [f'"{kind.name}"'.encode() for kind in kinds]
    for block, _ in journal.Scan(path).blocks():
        if any(mark in block for mark in marks):
            for raw in io.BytesIO(block):
                if any(mark in raw for mark in marks) and isinstance(event := _event(raw), kinds):
                    yield event


def _without_start(path: str | Path) -> LastRun | None:
    for line in reversed(deque(journal.read(path), maxlen=_PROBED)):
        if event := _event(line.raw):
            return LastRun(event.run_id)
    return None


def _event(raw: bytes) -> AnyEvent | UnknownEvent | None:
    try:
        return codec.decode(raw)
    except TelemetryError:
        return None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(64)
    except FileNotFoundError:
        raise TelemetryError(f"no such telemetry file: {path}; check the path") from None
    except OSError as error:
        raise TelemetryError(f"cannot read {path}: {error.strerror or error}") from error
