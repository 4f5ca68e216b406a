"""The one delivery loop: read the journal from the cursor, deliver, save the cursor.

A line is passed only when the tracker has taken it or it lies in the dead letters. Live mirroring, catching up and
back-filling are this loop; an outage is a cursor that is behind.
"""

import math
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import msgspec

from gradience.errors import ExtraMissingError, InputError, RejectedError, TargetGoneError, UnavailableError
from gradience.mirror import ending, reason
from gradience.mirror.cursor import CursorFile, Delivery
from gradience.mirror.deadletters import DeadLetters
from gradience.mirror.groups import Group, groups
from gradience.mirror.ledger import Ledger
from gradience.mirror.pace import Endurance, Pace
from gradience.mirror.sealed import Sealed
from gradience.mirror.sink import Sink, Tracked
from gradience.mirror.tail import Tail

TRIES = 3  # a fault of no known kind is the batch's own when it comes this often in a row


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one drain did. `skipped` lines were in the tracker already; `unreadable` ones are no telemetry."""

    state: Delivery
    sent: int = 0
    rejected: int = 0
    skipped: int = 0
    unreadable: int = 0
    line: int = 0  # the last line passed
    behind: int = 0  # complete lines still to come
    error: str | None = None
    runs: dict[str, Tracked] = {}


def drain(
    journal: Path,
    sink: Sink,
    store: CursorFile,
    pace: Pace | None = None,
    *,
    from_start: bool = False,
    progress: Callable[[int], object] = lambda _line: None,
) -> Outcome:
    """Deliver what the cursor has not passed; the caller holds the cursor's lock, and closes the sink.

    `from_start` delivers every line once more, whatever cursor and tracker remember. `progress` is called with the
    number of the last line passed. Why a delivery stopped is in the outcome, for the caller to say.

    Raises:
        TelemetryError: the journal cannot be read, or is not the one that was delivered before.
        InputError: what was asked of the sink cannot be found.
        ExtraMissingError: the sink's outside library is not installed.
    """
    return _Drain(Tail(journal), sink, store, pace or Pace(), progress).run(from_start)


class _Verdict(Enum):
    ACCEPTED = 1
    REFUSED = 2
    HALTED = 3


class _Drain:
    def __init__(
        self, tail: Tail, sink: Sink, store: CursorFile, pace: Pace, progress: Callable[[int], object]
    ) -> None:
        self._tail = tail
        self._sink = sink
        self._pace = pace
        self._progress = progress
        self._ledger = Ledger(tail, sink, store)
        self._sealed = Sealed(tail.path)
        self._letters = DeadLetters(store.dead_letters)
        self._endurance = Endurance(pace, sink.name)
        self._open: str | None = None
        self._counts = Outcome(state=Delivery.BEHIND)
        self._reason = ""

    def run(self, from_start: bool) -> Outcome:
        if from_start:
            self._letters.clear()
            self._ledger.restart()
        else:
            self._ledger.resume()
        self._endurance.progressed()  # to find the place in a long file again costs no patience
        self._ledger.note(Delivery.BEHIND)
        try:
            self._loop()
        finally:
            self._ledger.save()
        return self._outcome()

    def _outcome(self) -> Outcome:
        cursor = self._ledger.cursor
        return msgspec.structs.replace(
            self._counts,
            state=cursor.state,
            line=cursor.line,
            behind=self._tail.remaining(),
            error=cursor.error,
            runs=cursor.tracked,
        )

    def _loop(self) -> None:
        end = self._tail.end() if self._pace.to_now else math.inf
        while True:
            block = self._tail.read(self._pace.batch_lines) if self._tail.offset < end else []
            if not block:
                self._ledger.note(Delivery.UP_TO_DATE)
                self._ledger.save()
                self._sealed.check()
            if self._endurance.is_over() or not (block or self._pace.follow()):
                return
            if not block:
                self._pace.sleep(self._pace.poll_s)
            elif not all(self._settle(group) for group in groups(block)):
                return

    def _settle(self, group: Group) -> bool:
        """Pass a group by delivering what the tracker lacks of it; False when the drain has to end before that."""
        if group.records and not (self._end_abandoned(group) and self._ready(group)):
            return False
        rest = self._skip_told(group) if group.records else group
        if rest.records and not self._deliver(rest):
            return False
        if not rest.records:
            self._ledger.passed(rest)
        self._sealed.passed(group)
        self._count(unreadable=group.unreadable)
        return True

    def _skip_told(self, group: Group) -> Group:
        told = self._ledger.told(group)
        if told < group.records[0].line:
            return group
        known = group.upto(told)
        self._ledger.passed(known)
        self._count(skipped=len(known.records))
        return group.beyond(told)

    def _end_abandoned(self, group: Group) -> bool:
        """End the runs as failed that were killed before another one began in their file."""
        for run in self._ledger.abandoned(group):
            self._open = None
            while (why := ending.attempt(self._sink, run)) is not None:
                self._reason = why
                if not self._endure():
                    return False
            self._ledger.ended(run)
        return True

    def _ready(self, group: Group) -> bool:
        if self._endurance.is_over():
            return False
        if self._open == group.run_id:
            return True
        run = self._ledger.run(group)
        verdict = self._attempt(lambda: self._ledger.attach(group, self._sink.open(run)))
        if verdict is _Verdict.REFUSED:
            self._ledger.note(Delivery.PARKED, self._reason)
        self._open = group.run_id if verdict is _Verdict.ACCEPTED else None
        return verdict is _Verdict.ACCEPTED

    def _deliver(self, group: Group, tries: int = TRIES) -> bool:
        batch = self._ledger.batch(group)
        verdict = self._attempt(lambda: self._sink.deliver(batch), tries)
        if verdict is _Verdict.REFUSED:
            return self._bisect(group)
        if verdict is _Verdict.ACCEPTED:
            self._ledger.delivered(group)
            self._moved(sent=len(group.records))
        return verdict is _Verdict.ACCEPTED

    def _bisect(self, group: Group) -> bool:
        """Close in on the bad event; only when it is alone does a fault cost more than one attempt."""
        if len(group.records) == 1:
            return self._bury(group)
        return all(
            not self._endurance.is_over() and self._deliver(half, TRIES if len(half.records) == 1 else 1)
            for half in group.halves()
        )

    def _bury(self, group: Group) -> bool:
        why = self._reason
        verdict = self._attempt(lambda: self._write_letter(group, why))
        if verdict is _Verdict.ACCEPTED:
            self._endurance.rejected(group.records[0].line, why)
            self._ledger.passed(group)
            self._ledger.save()
            self._moved(rejected=1)
        return verdict is _Verdict.ACCEPTED

    def _write_letter(self, group: Group, why: str) -> None:
        try:
            self._letters.bury(group.records[0], why)
        except OSError as error:
            raise UnavailableError(f"cannot write dead letters: {error.strerror}") from error

    def _attempt(self, act: Callable[[], None], tries: int = TRIES) -> _Verdict:
        """Act until it is accepted, refused for good, or there is no use or no time to go on."""
        faults = 0
        while True:
            try:
                act()
            except (InputError, ExtraMissingError):
                raise
            except TargetGoneError as gone:
                self._reason = reason.of(gone)
                self._ledger.note(Delivery.PARKED, self._reason)
                return _Verdict.HALTED
            except RejectedError as rejected:
                self._reason = reason.of(rejected)
                return _Verdict.REFUSED
            except Exception as error:  # noqa: BLE001 - a sink is foreign code, and no fault of it may lose a line
                faults += not isinstance(error, UnavailableError)
                self._reason = reason.of(error) if faults == 0 else f"{type(error).__name__}: {reason.of(error)}"
            else:
                return _Verdict.ACCEPTED
            if faults >= tries:
                return _Verdict.REFUSED
            if not self._endure():
                return _Verdict.HALTED

    def _endure(self) -> bool:
        self._ledger.note(Delivery.UNAVAILABLE, self._reason)
        self._ledger.save()
        return self._endurance.failed(self._reason)

    def _moved(self, *, sent: int = 0, rejected: int = 0) -> None:
        self._count(sent=sent, rejected=rejected)
        self._endurance.progressed()
        self._progress(self._tail.line)

    def _count(self, **more: int) -> None:
        sums = {name: getattr(self._counts, name) + count for name, count in more.items()}
        self._counts = msgspec.structs.replace(self._counts, **sums)
