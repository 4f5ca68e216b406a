"""What is delivered at once: consecutive lines of a journal whose events are all of one run."""

from collections.abc import Iterable, Iterator

import msgspec

from gradience.errors import TelemetryError
from gradience.vnext import codec
from gradience.vnext.journal import Line
from gradience.vnext.record import Record


class Group(msgspec.Struct, frozen=True):
    """Consecutive lines and the events among them; a line that is no telemetry is only passed over."""

    lines: tuple[Line, ...]
    records: tuple[Record, ...] = ()

    @property
    def run_id(self) -> str:
        """The run of all its events."""
        return self.records[0].event.run_id

    @property
    def unreadable(self) -> int:
        """How many lines are neither an event nor blank."""
        return sum(not line.raw.isspace() for line in self.lines) - len(self.records)

    def upto(self, line: int) -> "Group":
        """Its part up to a line."""
        return Group(
            tuple(entry for entry in self.lines if entry.number <= line),
            tuple(record for record in self.records if record.line <= line),
        )

    def beyond(self, line: int) -> "Group":
        """Its part behind a line."""
        return Group(
            tuple(entry for entry in self.lines if entry.number > line),
            tuple(record for record in self.records if record.line > line),
        )

    def halves(self) -> tuple["Group", "Group"]:
        """Two groups with half of its events each, for at least two events."""
        middle = self.records[len(self.records) // 2 - 1].line
        return self.upto(middle), self.beyond(middle)


def groups(lines: Iterable[Line]) -> Iterator[Group]:
    """Lines in their order, cut where the run changes."""
    taken: list[Line] = []
    records: list[Record] = []
    for line in lines:
        record = parse(line)
        if record and records and record.event.run_id != records[0].event.run_id:
            yield Group(tuple(taken), tuple(records))
            taken, records = [], []
        taken.append(line)
        if record:
            records.append(record)
    if taken:
        yield Group(tuple(taken), tuple(records))


def parse(line: Line) -> Record | None:
    """The event of a line; None when it is no telemetry."""
    try:
        return Record(line.number, line.end, line.raw, codec.decode(line.raw))
    except TelemetryError:
        return None
