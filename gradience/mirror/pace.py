"""How eagerly a drain works and when it gives up: deadlines, back-off, and what it says about failures meanwhile."""

import logging
import math
import random
import time
from collections.abc import Callable

import msgspec

log = logging.getLogger("gradience.mirror")

BATCH_LINES = 2000  # a few requests of a tracker's API, some 300 kB: little to repeat, little said beside it
POLL_S = 1.0  # between two looks for more at the end of a file that grows
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
REPEAT_S = 60.0  # a failure that goes on is said this often


class Tempo(msgspec.Struct, frozen=True, kw_only=True):
    """How a tracker is delivered to, whoever does it: lines at once, time they gather, longest wait in an outage."""

    batch_lines: int = BATCH_LINES
    poll_s: float = POLL_S
    longest_wait_s: float = LONGEST_WAIT_S


class Pace(Tempo, frozen=True, kw_only=True):
    """The bounds of one drain; time and chance come in here.

    `deadline_s` bounds the whole drain, `patience_s` the time without any progress; the last attempt begins before
    they are over. `stop` ends the drain between two attempts. While `follow` is true, the end of the file is waited
    out. `to_now` leaves what is written after the drain began to the next one: a recorder may be faster than a tracker.
    `sleep` may return early.
    """

    deadline_s: float | None = None
    patience_s: float | None = None
    stop: Callable[[], bool] = lambda: False
    follow: Callable[[], bool] = lambda: False
    to_now: bool = False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    jitter: Callable[[], float] = random.random


class Endurance:
    """The failures of one drain in a row: how long to wait after each, when to give up, what to say."""

    def __init__(self, pace: Pace, sink: str) -> None:
        self._pace = pace
        self._sink = sink
        self._began = self._progress = pace.clock()
        self._failures = 0
        self._rejected = 0
        self._said: dict[str, float] = {}

    def is_over(self) -> bool:
        """Whether the drain was told to stop or has no time left."""
        return self._pace.stop() or self._left() <= 0

    def progressed(self) -> None:
        """Something was delivered: patience starts anew, and a recovery is said."""
        if self._failures:
            log.warning("%s: delivering again after %d failed attempts.", self._sink, self._failures)
        self._failures = 0
        self._said.pop("failed", None)
        self._progress = self._pace.clock()

    def failed(self, reason: str) -> bool:
        """Say so, not too often, and wait; False when there is no time for another attempt."""
        self._failures += 1
        if self._may_say("failed"):
            log.warning("%s: not delivered, will try again (attempt %d): %s", self._sink, self._failures, reason)
        if self.is_over():
            return False
        self._pace.sleep(min(self._wait(), max(self._left(), 0.0)))
        return not self._pace.stop()

    def rejected(self, line: int, reason: str) -> None:
        """Say that a line was set aside, not too often."""
        self._rejected += 1
        if self._may_say("rejected"):
            text = "%s: line %d set aside in the dead letters (%d in all): %s"
            log.warning(text, self._sink, line, self._rejected, reason)

    def _left(self) -> float:
        bounds = ((self._began, self._pace.deadline_s), (self._progress, self._pace.patience_s))
        ends = [since + bound for since, bound in bounds if bound is not None]
        return min(ends) - self._pace.clock() if ends else math.inf

    def _wait(self) -> float:
        longest = min(FIRST_WAIT_S * 2.0 ** min(self._failures - 1, 10), self._pace.longest_wait_s)
        return longest * (0.5 + 0.5 * self._pace.jitter())

    def _may_say(self, what: str) -> bool:
        now = self._pace.clock()
        if now - self._said.get(what, -math.inf) < REPEAT_S:
            return False
        self._said[what] = now
        return True
