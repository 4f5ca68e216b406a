"""A sink that hears only of some events, and of some metrics by other names.

No line is left out: one that the tracker is not to see becomes an event that every sink ignores, so that lines and
positions stay whole.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, cast

import msgspec

from gradience.mirror.sink import Batch, Sink
from gradience.vnext.record import Record
from gradience.vnext.types import SCHEMA, RunEnd, RunStart, RunStatus, UnknownEvent

LEFT_OUT: Final = "left_out"
ALWAYS: Final = (RunStart.name, RunEnd.name)  # without them there is no tracked run, or no end to it


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants of a sink: `events` (None: all), names of metrics, and how long it may take to let go."""

    events: Collection[str] | None = None
    rename: Mapping[str, str] = {}
    close_timeout_s: float | None = None


def select(sink: Sink, choice: Choice) -> Sink:
    """The sink with that choice; itself where nothing is chosen."""
    return sink if choice == Choice() else cast("Sink", _Selection(sink, choice))


class _Selection:
    """Everything that is not here is the sink's own, also what only some sinks have."""

    def __init__(self, sink: Sink, choice: Choice) -> None:
        self._sink = sink
        self._choice = choice

    def deliver(self, batch: Batch) -> None:
        """Deliver what was chosen."""
        records = tuple(record if self._is_chosen(record) else _left_out(record) for record in batch.records)
        self._sink.deliver(msgspec.structs.replace(batch, records=records, names=self._choice.rename))

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """Let go within the time that was chosen."""
        chosen_s = self._choice.close_timeout_s
        self._sink.close(status, timeout_s if chosen_s is None else chosen_s)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._sink, name)
        return self._elsewhere(found) if name == "at" else found

    def _elsewhere(self, lead: Callable[[str], Sink | None]) -> Callable[[str], Sink | None]:
        """The sink for another target keeps the choice."""

        def at(target: str) -> Sink | None:
            found = lead(target)
            return found and select(found, self._choice)

        return at

    def _is_chosen(self, record: Record) -> bool:
        chosen, name = self._choice.events, record.event.name
        return chosen is None or name in chosen or name in ALWAYS


def _left_out(record: Record) -> Record:
    """The line without what it says."""
    was = record.event
    event = UnknownEvent(event=LEFT_OUT, ts=was.ts, run_id=was.run_id, step=was.step)
    envelope = {"schema": SCHEMA, "ts": was.ts, "run_id": was.run_id, "event": LEFT_OUT, "step": was.step}
    return Record(record.line, record.end, msgspec.json.encode(envelope) + b"\n", event)
