"""One run as it goes by: its curves, its alerts where they stand, and what the detectors make of it, in one pass.

It takes the records of a file in blocks, whether the file is finished or still grows. Without a run's id it stays with
the run that started last: a new one begins anew.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gradience.curves.course import Course
from gradience.vnext import monitoring
from gradience.vnext.monitoring import Monitor
from gradience.vnext.notices import Notices
from gradience.vnext.record import Record
from gradience.vnext.signals import AlertSeen
from gradience.vnext.types import SCHEMA, Alert, AnyEvent, RunEnd, RunStart, Severity, UnknownEvent

MARKS_KEPT: Final = 200  # more would hide a chart


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """An alert at its step: as it was recorded, or as a detector fires it when the run is replayed."""

    step: int | None
    severity: Severity
    code: str
    message: str
    is_recorded: bool = True


class Replay:
    """The run of `run_id`, or the last to start; `detectors` makes what watches a run from its beginning."""

    def __init__(self, run_id: str | None = None, detectors: Callable[[], Monitor] | None = None) -> None:
        self._is_named = run_id is not None
        self._has_start = False
        self._detectors = detectors
        self._begin(run_id)

    def take(self, records: Sequence[Record]) -> None:
        """Take the next records of the file."""
        pending: list[AnyEvent | UnknownEvent] = []
        for record in records:
            event = record.event
            if event.run_id != self.run_id:
                if not self._is_next(event):
                    continue
                pending.clear()
                self._begin(event.run_id)
            pending.append(event)
            if type(event) is RunStart:
                self._has_start = True
            elif type(event) is Alert:
                self._mark(event, is_recorded=True)
            if self._watching is not None:
                self._watch(self._watching, record)
        self.course.take(pending)

    def finish(self) -> None:
        """Nothing more comes, though the run never said so: ask for what only the end can tell."""
        if self._watching is not None and self._last is not None:
            self._fire(self._last, self._watching.observe(RunEnd.name, None, {}))

    @property
    def fired(self) -> tuple[AlertSeen, ...]:
        """What the detectors found, each severity and code once, whether or not the recorder had noted it."""
        found: tuple[AlertSeen, ...] = self._fired.fields()["alerts"]
        return found

    def _is_next(self, event: AnyEvent | UnknownEvent) -> bool:
        return not self._is_named and (type(event) is RunStart or not self._has_start)

    def _begin(self, run_id: str | None) -> None:
        self.run_id = run_id
        self.course = Course()
        self.marks: list[Mark] = []
        self._fired = Notices()
        self._last: AnyEvent | UnknownEvent | None = None
        self._watching = self._detectors() if self._detectors else None

    def _watch(self, watching: Monitor, record: Record) -> None:
        self._last = record.event
        self._fire(record.event, monitoring.watch(watching, record))

    def _fire(self, event: AnyEvent | UnknownEvent, found: Iterable[Mapping[str, Any]]) -> None:
        for fired in found:
            alert = _alert(event, fired)
            self._fired.alert(alert)
            self._mark(alert, is_recorded=False)

    def _mark(self, alert: Alert, *, is_recorded: bool) -> None:
        """An alert that was recorded takes the place of the same one, fired just before it, or at the end after it."""
        if not is_recorded and any((one.code, one.step) == (alert.code, alert.step) for one in self.marks):
            return
        mark = Mark(
            step=alert.step,
            severity=alert.severity,
            code=alert.code,
            message=alert.message,
            is_recorded=is_recorded,
        )
        self.marks = [one for one in self.marks if (one.code, one.step) != (mark.code, mark.step)]
        if len(self.marks) < MARKS_KEPT:
            self.marks.append(mark)


def _alert(event: AnyEvent | UnknownEvent, fired: Mapping[str, Any]) -> Alert:
    """The alert as the recorder would have written it, right after the event that fired it."""
    envelope = {"schema": SCHEMA, "event": Alert.name, "ts": event.ts, "run_id": event.run_id, "step": event.step}
    return msgspec.convert({**envelope, **fired}, Alert)
