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

_MARKS: Final = (b'"run_start"', b'"run_end"')
_OPENING: Final = b'{"schema"'
_PROBED: Final = 20  # lines that a file may start with before the first that is telemetry: torn ones, blanks


class LastRun(msgspec.Struct, frozen=True):
    """The run that started last; `status` is its `run_end`'s, None while there is none. `starts` over all runs."""

    run_id: str
    status: str | None = None
    starts: int = 0


def last(path: str | Path) -> LastRun | None:
    """The run that started last, or, in a file without any start, the run of its last event.

    Raises:
        TelemetryError: The file cannot be read.
    """
    found: LastRun | None = None
    statuses: dict[str, str] = {}
    for event in _boundaries(path):
        if isinstance(event, RunStart):
            statuses.pop(event.run_id, None)
            found = LastRun(event.run_id, None, found.starts + 1 if found else 1)
        elif isinstance(event, RunEnd):
            statuses[event.run_id] = event.status
    found = found or _without_start(path)
    return found and LastRun(found.run_id, statuses.get(found.run_id), found.starts)


def check(path: str | Path) -> None:
    """Refuse a file that is not telemetry, so that nothing is ever appended to somebody's data.

    An empty file passes, and so does one that a crash left with nothing but the beginning of its first line.

    Raises:
        TelemetryError: The file is missing, compressed, or holds something else.
    """
    head = _head(Path(path))
    if head.startswith(journal.GZIP):
        raise TelemetryError(f"cannot append to {path}: it is compressed; unpack it first")
    probed = [line for line in islice(journal.read(path), _PROBED) if line.raw.strip()]
    if any(_event(line.raw) for line in probed):
        return
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\0 \r\n")
    if probed or not (text.startswith(_OPENING) or _OPENING.startswith(text)):
        raise TelemetryError(f"cannot append to {path}: it is not a telemetry file; name another one, or a new one")


def _boundaries(path: str | Path) -> Iterator[AnyEvent | UnknownEvent]:
    for block, _ in journal.Scan(path).blocks():
        if any(mark in block for mark in _MARKS):
            for raw in io.BytesIO(block):
                if any(mark in raw for mark in _MARKS) and (event := _event(raw)):
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
        raise TelemetryError(f"no such telemetry file: {path}") from None
    except OSError as error:
        raise TelemetryError(f"cannot read {path}: {error.strerror or error}") from error
