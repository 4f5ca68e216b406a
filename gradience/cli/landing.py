"""Landing what a command found out about an adapter: its events go to a journal, once."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gradience import references
from gradience.audit.record import AdapterInfo
from gradience.cli import journals
from gradience.cli.journals import Journal
from gradience.errors import GradienceError
from gradience.mirror import origin
from gradience.settings import sources
from gradience.vnext.appender import append_events
from gradience.vnext.record import Record
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import ConfigSnapshot


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `identity` are the places, with dots, of what makes it the same as one that is there already.

    Without an identity it is like no other.
    """

    event: str
    payload: dict[str, Any]
    identity: tuple[str, ...] = ()

    def is_in(self, record: Record) -> bool:
        """Whether a line says the same."""
        if not self.identity or record.event.name != self.event:
            return False
        there = record.payload
        return all(_at(there, place) == _at(self.payload, place) for place in self.identity)


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a command found out about an adapter. All entries stand at the adapter's step, else at the run's last."""

    adapter: AdapterInfo
    maker: origin.Maker  # of the run, where the journal holds none yet
    entries: tuple[Entry, ...]


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """Where the events are now; `added` is False where all of them were there already."""

    path: Path
    run_id: str
    added: bool


class _Past(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal already holds of the run."""

    last_step: int | None
    has_all: bool


def land(journal: Journal, note: Note) -> Landed:
    """Append the entries to the journal; a new one gets a run of its own.

    Raises:
        TelemetryError: the journal cannot be written; nothing of the note is in it then.
    """
    if journal.run_id is None:
        return Landed(path=journal.path, run_id=_create(journal.path, note), added=True)
    past = _past(journal, note)
    if not past.has_all:
        append_events(journal.path, journal.run_id, _events(note, past.last_step))
    return Landed(path=journal.path, run_id=journal.run_id, added=not past.has_all)


def _past(journal: Journal, note: Note) -> _Past:
    step, lacking = None, list(note.entries)
    for line in TelemetryReader(journal.path, run_id=journal.run_id):
        step = step if line.event.step is None else max(step or 0, line.event.step)
        lacking = [entry for entry in lacking if not entry.is_in(line)]
    return _Past(last_step=step, has_all=not lacking)


def _at(payload: Mapping[str, Any], place: str) -> Any:
    """What stands at a place; None where there is no such."""
    found: Any = payload
    for key in place.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _events(note: Note, last_step: int | None) -> Iterator[dict[str, Any]]:
    step = last_step if note.adapter.step is None else note.adapter.step
    for entry in note.entries:
        yield {"event": entry.event, "step": step, **entry.payload}


def _create(path: Path, note: Note) -> str:
    meta = {**_origin(note.adapter.peft_dir), "created_by": note.maker}
    with TelemetryWriter(path, strict=True, sinks=()) as writer:
        writer.run_start(_config(note.adapter), meta=meta)
        for event in _events(note, None):
            writer.log(event.pop("event"), **event)
        return writer.run_id


def _config(adapter: AdapterInfo) -> ConfigSnapshot:
    try:
        return ConfigSnapshot.from_dict(sources.adapter(Path(adapter.adapter_config_path)))
    except GradienceError:
        return ConfigSnapshot()  # the adapter could be read; as a configuration it may still be odd


def _origin(place: str) -> dict[str, str]:
    """Where the adapter is from."""
    return {"adapter": place} if references.parse(place) else {"output_dir": str(_output_dir(Path(place)))}


def _output_dir(adapter: Path) -> Path:
    """The directory a trainer calls its own: checkpoints are folders in it."""
    here = journals.directory(adapter)
    return here.parent if here.name.startswith("checkpoint-") else here
