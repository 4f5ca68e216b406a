"""One line of a journal as every reader hands it on: its place, its bytes and its validated event."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gradience.errors import TelemetryError
from gradience.vnext import codec, journal, nonfinite
from gradience.vnext.types import ENVELOPE, AnyEvent, UnknownEvent


class Record(msgspec.Struct, frozen=True):
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


def decoded(scan: journal.Scan, report: Callable[[int, list[str]], object]) -> Iterator[Record]:
    """The records of a scan; a line that holds none, and whatever is wrong with one, is reported once by its number.

    Raises:
        TelemetryError: The file cannot be read.
    """
    decode = codec.decode
    problems: list[str] = []
    for block, skipped in scan.blocks():
        for raw in io.BytesIO(block):
            scan.line += 1
            scan.end += len(raw) + skipped
            event = None
            try:
                event = decode(raw, problems)
            except TelemetryError as error:
                problems.extend([str(error)] if raw.strip() else [])
            if problems or skipped:
                report(scan.line, _told(raw, skipped, problems))
                problems, skipped = [], 0
            if event is not None:
                yield Record(scan.line, scan.end, raw, event)
    if scan.tail:
        report(scan.line + 1, [f"{scan.tail} bytes without a newline: still being written, or torn by a crash"])
    if scan.fault:
        report(scan.line + 1, [scan.fault])


def _told(raw: bytes, skipped: int, problems: list[str]) -> list[str]:
    if not skipped:
        return problems
    if raw.endswith(b"\n"):
        return [f"{skipped} NUL bytes before it", *problems]
    return [f"left out: longer than {journal.LINE_LIMIT} bytes"]
