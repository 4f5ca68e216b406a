"""One line of a journal as every reader hands it on: its place, its bytes and its validated event."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gradience.errors import TelemetryError
from gradience.vnext import codec, journal, nonfinite
from gradience.vnext.types import ENVELOPE, Alert, AnyEvent, UnknownEvent

Report = Callable[[int, list[str]], object]


class Record(msgspec.Struct, frozen=True, gc=False):
    """A complete line. `line` counts from 1; `end` is the byte offset just after its newline."""

    line: int
    end: int
    raw: bytes
    event: AnyEvent | UnknownEvent

    @property
    def payload(self) -> dict[str, Any]:
        """Every key outside the envelope, as written, with non-finite numbers restored; decoded on each call."""
        fields = codec.decode_mapping(self.raw)
        return {key: value for key, value in fields.items() if key not in ENVELOPE and key != nonfinite.SIDE_FIELD}

    @property
    def extras(self) -> dict[str, Any]:
        """The payload's keys that the event's type does not name."""
        known = self.event.__struct_fields__
        return {key: value for key, value in self.payload.items() if key not in known}


def decoded(scan: journal.Scan, report: Report) -> Iterator[Record]:
    """The records of a scan; a line that holds none, and whatever is wrong with one, is reported once by its number.

    Raises:
        TelemetryError: The file cannot be read.
    """
    typed, refused = codec.typed, codec.REFUSED
    line, end = scan.line, scan.end
    for block, skipped in scan.blocks():
        end += skipped
        is_plain = block.isascii() and not skipped  # asked once for hundreds of lines
        for raw in io.BytesIO(block):
            line += 1
            end += len(raw)
            try:
                event: AnyEvent | UnknownEvent | None = typed(raw)
            except refused:
                event = None
            if event is None or event.nonfinite is not None or type(event) is Alert or not is_plain:
                event = _examined(line, raw, skipped, report)
                skipped = 0
            if event is not None:
                yield Record(line, end, raw, event)
    scan.line, scan.end = line, end
    if scan.tail:
        report(scan.line + 1, [f"{scan.tail} bytes without a newline: still being written, or torn by a crash"])
    if scan.fault:
        report(scan.line + 1, [scan.fault])


def of_line(line: journal.Line, report: Report) -> Record | None:
    """The record of one line, None if it holds none; what is wrong with it is reported by its number."""
    event = _examined(line.number, line.raw, line.skipped, report)
    return None if event is None else Record(line.number, line.end, line.raw, event)


def _examined(line: int, raw: bytes, skipped: int, report: Report) -> AnyEvent | UnknownEvent | None:
    """The event of a line that is not plain sailing, if it has one; what is wrong is reported."""
    problems: list[str] = []
    event = None
    try:
        event = codec.decode(raw, problems)
    except TelemetryError as error:
        problems.extend([str(error)] if raw.strip() else [])
    if skipped and not raw.endswith(b"\n"):
        problems = [f"left out: longer than {journal.LINE_LIMIT} bytes"]
    elif skipped:
        problems.insert(0, f"{skipped} NUL bytes before it")
    if problems:
        report(line, problems)
    return event
