"""What was posted already. A webhook has no memory, so the sink keeps one: a line for each message, in a file.

A message is noted as soon as it is answered. Between answer and note a crash may come: that one message comes twice.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from gradience.vnext import private

log = logging.getLogger("gradience.webhook")


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message that was posted; `runs` tells whether its run goes on after it, where it said so."""

    key: str
    run_id: str
    runs: bool | None = None


class Posted:
    """The notes of one webhook about one journal; without a path they last as long as this object."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._keys: set[str] = set()
        self._running: dict[str, bool] = {}
        for note in _read(path):
            self._take(note)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def is_running(self, run_id: str) -> bool:
        """Whether the last that was said of a run's start and end is that it started."""
        return self._running.get(run_id, False)

    def add(self, note: Note) -> None:
        """Keep a note, durably; without a disk to keep it on, for as long as this object lasts."""
        self._take(note)
        try:
            self._write(note)
        except OSError as error:
            log.warning("Cannot keep in mind what was posted: %s: %s; it may come twice.", self._path, error.strerror)

    def _take(self, note: Note) -> None:
        self._keys.add(note.key)
        if note.runs is not None:
            self._running[note.run_id] = note.runs

    def _write(self, note: Note) -> None:
        if self._path is None:
            return
        with private.open(self._path, "ab") as file:
            # Its newline comes first: what a killed process left unfinished then spoils no other note.
            file.write(b"\n" + msgspec.json.encode(note))
            file.flush()
            os.fsync(file.fileno())


def _read(path: Path | None) -> list[Note]:
    notes = []
    with suppress(FileNotFoundError):
        for line in path.read_bytes().split(b"\n") if path is not None else ():
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                notes.append(msgspec.json.decode(line, type=Note))
    return notes
