"""The recorder's side of a live drain: keeps it alive, says what a person should know, and sees it off."""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from gradience.errors import TelemetryError
from gradience.mirror.cursor import CursorFile
from gradience.mirror.live.hosts import Host
from gradience.mirror.live.news import REPEAT_S, News
from gradience.mirror.live.sidecar import PARKED
from gradience.vnext import journal
from gradience.vnext.journal import Line

log = logging.getLogger("gradience.mirror")

LOOK_S: Final = 0.5  # between two looks at the cursor and at the host
WAIT_S: Final = 0.05  # the same while somebody waits for the end
SEE_OFF_S: Final = 5.0  # for a drain that has delivered everything to be gone
BACK_OFF_S: Final = 1.0
LONGEST_BACK_OFF_S: Final = 60.0


class Supervisor:
    """Watches one live drain from a thread of its own."""

    def __init__(self, host: Host, store: CursorFile, path: Path, news: News) -> None:
        self._host = host
        self._store = store
        self._path = path
        self._news = news
        self._wake = threading.Event()
        self._starts = 0
        self._started_at = self._complained_at = -math.inf
        self._closing = self._dismissed = self._handed_over = self._parked = False

    def start(self) -> None:
        """Start the drain, and watch it until it has gone for good."""
        threading.Thread(target=self._watch, name=f"gradience-watch-{self._news.name}", daemon=True).start()

    def close(self, until: float) -> None:
        """Wait until everything is delivered, or until then (monotonic), and say what is behind.

        A drain that has nothing more to do is seen off; one that is behind goes on for a bounded time.
        """
        if self.catch_up(until):
            self._host.leave()
            self._wait(min(until, time.monotonic() + SEE_OFF_S), lambda: self._host.code() is not None)

    def catch_up(self, until: float) -> bool:
        """The same for a recorder that nobody closed: the drain stays to see how it ends. Whether all is delivered."""
        self._closing = True
        self._wake.set()
        self._wait(until, lambda: self._parked or self._is_delivered())
        self._dismissed = True
        self._news.look()
        if self._is_delivered():
            return True
        self._news.say_behind(sum(1 for _ in self._ahead()))
        return False

    def hand_over(self) -> None:
        """Leave delivery to the drain of another recorder."""
        self._dismissed = self._handed_over = True
        self._wake.set()

    def _is_delivered(self) -> bool:
        """Whether the cursor has passed every line; also when there is no journal any more to read them in."""
        try:
            return next(self._ahead(), None) is None
        except TelemetryError:
            return True

    def _ahead(self) -> Iterator[Line]:
        cursor = self._store.load()
        if cursor is None:
            return journal.read(self._path)
        return journal.read(self._path, start=cursor.present.offset, line=cursor.present.line)

    def _wait(self, until: float, done: Callable[[], bool]) -> None:
        while not done() and time.monotonic() < until:
            time.sleep(WAIT_S)

    def _watch(self) -> None:
        if not self._dismissed:
            self._start()
        while (code := self._host.code()) is None or not self._dismissed:
            with contextlib.suppress(OSError):  # a network disk that has a bad moment
                self._news.look()
            if self._handed_over:
                self._host.leave()
            elif code is not None:
                self._revive(code)
            self._wake.wait(LOOK_S)
            self._wake.clear()

    def _revive(self, code: int) -> None:
        """Start it again, if that is of any use, and not too often."""
        if code == PARKED and not self._parked and not self._news.is_parked:
            self._complain("has given up")
        self._parked = code == PARKED
        lived = time.monotonic() - self._started_at
        if lived >= LONGEST_BACK_OFF_S:
            self._starts = 0
        back_off = BACK_OFF_S if self._closing else min(BACK_OFF_S * 2.0**self._starts, LONGEST_BACK_OFF_S)
        if self._parked or lived < back_off:
            return
        if code:
            self._complain(f"ended with code {code} and is started again")
        self._start()

    def _start(self) -> None:
        self._starts = min(self._starts + 1, 10)
        self._started_at = time.monotonic()
        try:
            self._host.start()
        except (OSError, RuntimeError) as error:  # no memory, no disk, no thread: there may be some later
            self._complain(f"cannot be started: {error}")

    def _complain(self, what: str) -> None:
        if time.monotonic() - self._complained_at >= REPEAT_S:
            self._complained_at = time.monotonic()
            log.warning("%s: its side-car %s (%s); the recording goes on", self._news.name, what, self._host.account)
