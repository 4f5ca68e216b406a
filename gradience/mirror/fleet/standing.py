"""How the trackers of a journal stand, as far as its state folder tells: nothing is contacted, nothing is changed."""

import time
from pathlib import Path

import msgspec

from gradience.mirror import deadletters
from gradience.mirror.cursor import Cursor, Delivery, check_name, cursors, lock_name
from gradience.mirror.groups import parse
from gradience.mirror.sink import Tracked
from gradience.mirror.tail import Tail
from gradience.vnext import journal, lock


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One target's place in a journal of `lines` complete lines. `updated` is in Unix seconds.

    `lag_s` is the age of the oldest event that is still to be delivered; None when none is.
    """

    journal: str
    sink: str
    target: str
    state: Delivery = Delivery.BEHIND
    line: int = 0
    lines: int = 0
    behind: int = 0
    lag_s: float | None = None
    dead_letters: int = 0
    runs: dict[str, Tracked] = {}
    error: str | None = None
    updated: float | None = None
    holder: str | None = None  # who is delivering now


class _Ahead(msgspec.Struct, frozen=True):
    """What is behind a place in a journal; `since` is when its first event happened."""

    lines: int
    since: float | None


def standings(path: Path, state_dir: Path | None = None) -> list[Standing]:
    """Of every target that the journal has a cursor for, by sink and address.

    Raises:
        TelemetryError: the journal cannot be read.
    """
    found = [_standing(path, place, cursor) for place, cursor in cursors(path, state_dir)]
    return sorted(found, key=lambda one: (one.sink, one.target))


def towards(path: Path, sink: str, target: str, state_dir: Path | None = None) -> Standing:
    """Of one target, whether there is a cursor for it or not.

    Raises:
        TelemetryError: the journal cannot be read, or not be delivered by its name.
    """
    check_name(path)
    for place, cursor in cursors(path, state_dir):
        if (cursor.sink, cursor.target) == (sink, target):
            return _standing(path, place, cursor)
    return untouched(path, sink, target)


def check(path: Path, sink: str, target: str, state_dir: Path | None = None) -> None:
    """Pass a journal that begins with the lines that were delivered; that takes as long as to read them.

    Raises:
        TelemetryError: it does not, or cannot be read.
    """
    for _, cursor in cursors(path, state_dir):
        if (cursor.sink, cursor.target) == (sink, target):
            for _ in Tail(path).seek(cursor.line, cursor.fingerprint):
                pass


def untouched(path: Path, sink: str, target: str) -> Standing:
    """Of a target that has taken nothing.

    Raises:
        TelemetryError: the journal cannot be read.
    """
    ahead = _ahead(path, Cursor(journal=str(path), sink=sink, target=target))
    lines = ahead.lines
    return Standing(journal=str(path), sink=sink, target=target, lines=lines, behind=lines, lag_s=_age(ahead))


def _standing(path: Path, place: Path, saved: Cursor) -> Standing:
    cursor = saved.present
    ahead = _ahead(path, cursor)
    grown = cursor.state is Delivery.UP_TO_DATE and ahead.lines > 0
    holder = lock.holder(place.with_name(lock_name(cursor.sink, cursor.target)))
    return Standing(
        journal=str(path),
        sink=cursor.sink,
        target=cursor.target,
        state=Delivery.BEHIND if grown else cursor.state,
        line=cursor.line,
        lines=cursor.line + ahead.lines,
        behind=ahead.lines,
        lag_s=_age(ahead),
        dead_letters=len(deadletters.read(place.with_suffix(".dead.jsonl"))),
        runs=cursor.tracked,
        error=cursor.error,
        updated=cursor.updated,
        holder=str(holder) if holder else None,
    )


def _ahead(path: Path, cursor: Cursor) -> _Ahead:
    since, count = None, 0
    for line in journal.read(path, start=cursor.offset, line=cursor.line):
        count += 1
        if since is None and (record := parse(line)):
            since = record.event.ts
    return _Ahead(count, since)


def _age(ahead: _Ahead) -> float | None:
    return None if ahead.since is None else max(0.0, time.time() - ahead.since)
