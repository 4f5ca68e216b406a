"""What is written to a journal while it is watched: the same fold and the same replay as of a finished file.

The file may not be there yet, may be continued by another recorder, or replaced by another file; then what is known
begins anew.
"""

import time
from pathlib import Path
from typing import Final

from gradience.cli.recorded import Asked
from gradience.curves.pace import Pace
from gradience.errors import ReplacedError, TelemetryError
from gradience.mirror.tail import Tail
from gradience.vnext import record
from gradience.vnext.record import Record
from gradience.vnext.signals import SignalSnapshot
from gradience.vnext.summary import Summary
from gradience.vnext.types import TrainStep

LINES: Final = 2000  # taken at once, so that a long file is watched while it is read


class Feed:
    """One journal. `replaced` counts how often it became another one; `is_there` is whether it exists."""

    def __init__(self, path: Path, asked: Asked) -> None:
        self.path = path
        self._asked = asked
        self._tail: Tail | None = None
        self.replaced = 0
        self.is_caught_up = False  # everything that was there was read
        self._begin()

    @property
    def is_there(self) -> bool:
        """Whether there is a file to read."""
        return self._tail is not None

    @property
    def run_id(self) -> str | None:
        """The run that is watched."""
        return self.replay.run_id

    @property
    def silent_s(self) -> float:
        """How long nothing has been written, whether or not somebody watched."""
        try:
            return max(0.0, time.time() - self.path.stat().st_mtime)
        except OSError:
            return 0.0

    def look(self) -> list[Record]:
        """The next records of the file, whatever their run; empty when there is nothing new.

        Raises:
            TelemetryError: It cannot be read, or is no telemetry.
        """
        try:
            found = self._read()
        except ReplacedError:
            self._forget()
            return []
        except TelemetryError:
            if self.path.exists():
                raise
            self._forget()
            return []
        return found

    def seen(self) -> SignalSnapshot:
        """The watched run as it looks now."""
        return self._summary.snapshot(self.run_id)

    def is_ended(self) -> bool:
        """Whether the watched run has come to its end, and everything of it was read."""
        run = self._summary.run(self.run_id) if self.run_id else None
        return self.is_caught_up and run is not None and run.info().ended

    def _read(self) -> list[Record]:
        if self._tail is None:
            self._tail = Tail(self.path)
        lines = self._tail.read(LINES)
        self._tail.advance(lines)
        found = [one for line in lines if (one := record.of_line(line, self._summary.report)) is not None]
        self._take(found)
        self.is_caught_up = not lines
        if not self._summary.runs and self._summary.issues:
            raise TelemetryError(f"{self.path} holds no telemetry: {self._summary.issues[0]}")
        return found

    def _take(self, records: list[Record]) -> None:
        before = self.run_id
        self._summary.take(records)
        self.replay.take(records)
        if self.run_id != before:
            self.pace = Pace()
        steps = [one.event for one in records if type(one.event) is TrainStep and one.event.run_id == self.run_id]
        for event in {id(one): one for one in (*steps[:1], *steps[-1:])}.values():
            if event.step is not None:
                self.pace.see(event.step, event.ts)

    def _forget(self) -> None:
        self.replaced += self._tail is not None
        self._tail = None
        self.is_caught_up = False
        self._begin()

    def _begin(self) -> None:
        self._summary = Summary()
        self.replay = self._asked.replay()
        self.pace = Pace()
