"""What a recorder's person should know of a delivery that happens elsewhere: read in its cursor, said once."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Final

from gradience.mirror.cursor import Cursor, CursorFile, Delivery

log = logging.getLogger("gradience.mirror")

REPEAT_S: Final = 60.0  # trouble that goes on is said this often


class News:
    """Watches one cursor for the run that is being recorded; what stood there before counts for nothing.

    `catch_up` makes the command that catches the tracker up by hand. With `in_house` the drain itself talks to the
    same log, so that its troubles are not said twice.
    """

    def __init__(
        self, store: CursorFile, name: str, run_id: str, catch_up: Callable[[Cursor | None], str], *, in_house: bool
    ) -> None:
        self._store = store
        self.name = name
        self._run_id = run_id
        self._catch_up = catch_up
        self._in_house = in_house
        self._lock = threading.Lock()
        self._last = store.load()
        self._said: str | None = None
        self._troubled = False
        self._said_at = -math.inf
        self.is_parked = False

    def look(self) -> None:
        """Read the cursor, and say what is new; from any thread."""
        with self._lock:
            self._look()

    def say_behind(self, lines: int) -> None:
        """Nothing more is recorded, and not everything was delivered."""
        cursor = self._store.load()
        why = (cursor and cursor.error) or "not done in time"
        goes_on = "" if self.is_parked else "Delivery goes on for a while; if that is cut short, "
        log.warning(
            "%s is %d lines behind (%s). %scatch up with: %s", self.name, lines, why, goes_on, self._catch_up(cursor)
        )

    def _look(self) -> None:
        cursor = self._store.load()
        if cursor is None or cursor == self._last:
            return
        self._last = cursor
        self._say_where(cursor)
        self.is_parked = cursor.state is Delivery.PARKED
        if self._in_house:
            return
        if self.is_parked:
            self._say_parked(cursor)
        elif cursor.state is Delivery.UNAVAILABLE:
            self._say_trouble(cursor)
        elif self._troubled:
            self._troubled, self._said_at = False, -math.inf
            log.warning("%s: delivering again", self.name)

    def _say_where(self, cursor: Cursor) -> None:
        tracked = cursor.tracked.get(self._run_id)
        if tracked is None or tracked.id == self._said:
            return
        self._said = tracked.id
        hint = f" ({tracked.hint})" if tracked.hint else ""
        log.info("%s: this run is at %s%s", self.name, tracked.url or tracked.id, hint)

    def _say_parked(self, cursor: Cursor) -> None:
        text = "%s: delivery has stopped until this is mended: %s. The recording goes on; then catch up with: %s"
        log.error(text, self.name, cursor.error, self._catch_up(cursor))

    def _say_trouble(self, cursor: Cursor) -> None:
        self._troubled = True
        if time.monotonic() - self._said_at >= REPEAT_S:
            self._said_at = time.monotonic()
            log.warning("%s: not delivered, will try again; the recording goes on: %s", self.name, cursor.error)
