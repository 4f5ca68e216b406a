"""One line of a journal as every reader hands it on: its place, its bytes and its validated event."""

from typing import Any

import msgspec

from gradience.vnext import codec
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
        return {key: value for key, value in fields.items() if key not in ENVELOPE and key != "nonfinite"}

    @property
    def extras(self) -> dict[str, Any]:
        """The payload's keys that the event's type does not name."""
        known = self.event.__struct_fields__
        return {key: value for key, value in self.payload.items() if key not in known}
