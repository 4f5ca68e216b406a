"""The agenda of a standing service: every journal of some places is visited whenever there is something to deliver.

An outage costs a single attempt now and then, however many journals wait; it is tolerated for ever.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from gradience.mirror.cursor import Delivery
from gradience.mirror.fleet import abandonment, search
from gradience.mirror.fleet.errand import Answer, Done, Errand, Lost, Refused
from gradience.mirror.fleet.outage import Outage
from gradience.mirror.fleet.watched import LAST_WAIT_S, Look, Watched, pause_s
from gradience.mirror.pace import LONGEST_WAIT_S

log = logging.getLogger("gradience.mirror")

SCAN_S: Final = 5.0  # between two searches for new journals
STAY_S: Final = 120.0  # for one visit at most: others may wait
IDLE_S: Final = 10.0  # at the end of a file that grows, so that its tracked run need not be opened for each line
BRIEF_S: Final = 2.0  # the patience of a visit when others may wait


class Watch:
    """Told to `look` by one thread, worked off by a crew of `size`."""

    def __init__(
        self,
        places: Sequence[Path],
        outage: Outage,
        size: int,
        state_dir: Path | None = None,
        longest_wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        self._places = places
        self._outage = outage
        self._size = size
        self._state_dir = state_dir
        self._longest_wait_s = longest_wait_s
        self._known: dict[Path, Watched] = {}
        self._strange: dict[Path, int] = {}  # files that are no telemetry, by their size
        self._queue: deque[tuple[Watched, Errand]] = deque()
        self._at_work: dict[str, Watched] = {}
        self._lingering: set[str] = set()
        self._changed = threading.Condition()
        self._searched_at = -SCAN_S
        self._until: float | None = None
        self._probe_at = 0.0

    def __iter__(self) -> Iterator[Watched]:
        """Every journal, in the order of their discovery."""
        return iter(list(self._known.values()))

    def look(self) -> None:
        """Find out what there is to do."""
        now = time.monotonic()
        if self._until is None and now - self._searched_at >= SCAN_S:
            self._searched_at = now
            self._search()
        for watched in self:
            look = self._look(watched)
            with self._changed:
                if look is not None and watched.is_due(now, look) and self._may_try():
                    abandoned = watched.begin(now, look)
                    self._queue.append((watched, Errand(journal=str(watched.path), abandoned=abandoned)))
                    self._changed.notify()

    def hurry(self, deadline_s: float) -> None:
        """Deliver what is there now, within a deadline, and then be over."""
        now = time.monotonic()
        with self._changed:
            self._until = now + deadline_s
            self._probe_at = now
            for watched in self:
                look = self._look(watched)
                if look is None:
                    watched.is_finished = not watched.at_work
                else:
                    watched.hurry(now, look)
            self._changed.notify_all()

    def is_over(self) -> bool:
        """Whether all is delivered that was there when it was told to hurry, or the deadline is over."""
        if self._until is None:
            return False
        return time.monotonic() >= self._until or all(watched.is_finished for watched in self)

    def take(self, wait_s: float) -> Errand | None:
        """The next visit."""
        until = time.monotonic() + wait_s
        with self._changed:
            while not self._queue and not self.is_over() and (left := until - time.monotonic()) > 0:
                self._changed.wait(min(left, 1.0))
            if not self._queue or self.is_over():
                return None
            watched, errand = self._queue.popleft()
            self._at_work[errand.journal] = watched
            return self._bounded(errand)

    def moved(self, errand: Errand, line: int) -> None:  # noqa: ARG002 - that it moves at all is what counts
        """The tracker took a line."""
        with self._changed:
            self._answered()

    def done(self, errand: Errand, answer: Answer) -> None:
        """Remember what became of the visit, and what that tells of the tracker."""
        with self._changed:
            if self.is_over() and isinstance(answer, Lost):
                return  # its worker was ended, for the deadline is over
            watched = self._at_work.pop(errand.journal)
            self._lingering.discard(errand.journal)
            before = watched.trouble
            now, chance = time.monotonic(), random.random()  # noqa: S311 - only spreads attempts
            watched.end(answer, now, looked_for_end=errand.abandoned, chance=chance)
            self._judge(watched, answer)
            longest_s = self._longest_wait_s if self._until is None else LAST_WAIT_S
            self._probe_at = now + pause_s(self._outage.failures, chance, longest_s)
            if watched.trouble != before:
                _say_trouble(watched, answer)
            self._changed.notify_all()

    def _search(self) -> None:
        self._known = {own: known for own, known in self._known.items() if known.at_work or own.exists()}
        self._strange = {own: size for own, size in self._strange.items() if own.exists()}
        for place in self._places:
            for path in search.files(place) if place.is_dir() else (place,):
                own = path.resolve()
                if own not in self._known and self._is_telemetry(own, path):
                    self._known[own] = Watched(path, self._longest_wait_s)

    def _is_telemetry(self, own: Path, path: Path) -> bool:
        """A file that was none is looked into again once it has grown."""
        try:
            size = path.stat().st_size
        except OSError:
            return False
        if self._strange.get(own) == size:
            return False
        self._strange[own] = size
        return search.is_telemetry(path) and self._strange.pop(own) == size

    def _look(self, watched: Watched) -> Look | None:
        try:
            stat = watched.path.stat()
        except OSError:
            return None
        left = not watched.is_settled and abandonment.is_left(watched.path, self._state_dir)
        return Look(stat.st_ino, stat.st_size, left)

    def _may_try(self) -> bool:
        """While the tracker is down, one journal at a time is enough to find out that it is back."""
        is_alone = not (self._queue or self._at_work)
        return not self._outage.is_on or (is_alone and time.monotonic() >= self._probe_at)

    def _bounded(self, errand: Errand) -> Errand:
        """The visit lingers at the end of the file, unless that might keep others waiting."""
        if self._until is not None:
            left_s = max(0.0, self._until - time.monotonic())
            return _with(errand, deadline_s=left_s, patience_s=BRIEF_S, linger=False)
        linger = not self._queue and len(self._lingering) < self._size - 1
        if linger:
            self._lingering.add(errand.journal)
        return _with(errand, deadline_s=STAY_S, patience_s=IDLE_S if linger else BRIEF_S, linger=linger)

    def _judge(self, watched: Watched, answer: Answer) -> None:
        if isinstance(answer, Done) and answer.outcome.sent:
            self._answered()
        elif isinstance(answer, Lost) or (isinstance(answer, Done) and answer.outcome.state is Delivery.UNAVAILABLE):
            self._outage.failed(str(watched.path), watched.trouble)

    def _answered(self) -> None:
        if self._outage.is_on:
            log.warning("the tracker answers again")
        if self._outage.is_suspected:
            self._outage.answered()
            now = time.monotonic()
            for watched in self:
                watched.relieve(now)


def _with(errand: Errand, *, deadline_s: float, patience_s: float, linger: bool) -> Errand:
    return Errand(
        journal=errand.journal,
        abandoned=errand.abandoned,
        deadline_s=deadline_s,
        patience_s=patience_s,
        passing=True,
        linger=linger,
    )


def _say_trouble(watched: Watched, answer: Answer) -> None:
    """What is not worth another attempt soon; the rest is said by those who attempt it."""
    parked = isinstance(answer, Done) and answer.outcome.state is Delivery.PARKED
    if watched.trouble and (parked or isinstance(answer, Refused | Lost)):
        log.error("%s: %s", watched.path, watched.trouble)
