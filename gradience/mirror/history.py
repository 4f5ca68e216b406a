"""What a run has said up to a line: the little that a tracker needs to know about lines it was given long ago."""

import msgspec

from gradience.mirror import standing, verified, view
from gradience.mirror.verified import Verified
from gradience.vnext.record import Record
from gradience.vnext.types import Alert, Metrics, RecommendationEvent, RunEnd, RunStart, TrainStep


class History(msgspec.Struct, frozen=True):
    """A fold over the lines of one run; a pure function of the journal, so any process arrives at the same one."""

    alerts: dict[str, int] = {}
    advised: int | None = None
    nonfinite: frozenset[str] = frozenset()
    unended: bool = False  # it began, and came to no end so far
    ended: bool = False  # it came to an end, and has not gone on since
    verified: dict[str, Verified] = {}  # the latest of each adapter, by its fingerprint

    def after(self, record: Record) -> "History":
        """The history once a line is part of it."""
        event = record.event
        if isinstance(event, RunStart | RunEnd):
            begins = isinstance(event, RunStart)
            return msgspec.structs.replace(self, unended=begins, ended=not begins)
        if self.ended and isinstance(event, TrainStep):
            return msgspec.structs.replace(self, ended=False).after(record)
        if isinstance(event, Alert):
            severity = event.severity.value
            return msgspec.structs.replace(self, alerts={**self.alerts, severity: self.alerts.get(severity, 0) + 1})
        if isinstance(event, Metrics | RecommendationEvent) and standing.speaks(record):
            return self._after_words(record)
        if fresh := view.nonfinite(record).keys() - self.nonfinite:
            return msgspec.structs.replace(self, nonfinite=self.nonfinite | fresh)
        return self

    def _after_words(self, record: Record) -> "History":
        """The history once somebody has spoken about an adapter."""
        step, one = record.event.step, verified.of_line(record)
        return msgspec.structs.replace(
            self,
            advised=self.advised if step is None else max(step, self.advised or step),
            verified={**self.verified, one.adapter: one} if one else self.verified,
        )
