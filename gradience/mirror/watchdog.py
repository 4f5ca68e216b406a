"""The end of a process that hangs in a call which nobody can interrupt.

A tracker's library may block for longer than any timeout it was given: one that counts per read never ends on a
server that sends a byte now and then.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType


class Watchdog:
    """Calls `bite` from a thread of its own when nothing was heard for `limit_s` while it is entered.

    `feed` says that the work moves. Biting ends nothing by itself: `bite` is expected not to return.
    """

    def __init__(self, limit_s: float, bite: Callable[[], object]) -> None:
        self._limit_s = limit_s
        self._bite = bite
        self._heard = time.monotonic()
        self._done = threading.Event()

    def __enter__(self) -> "Watchdog":
        self._heard = time.monotonic()
        threading.Thread(target=self._watch, name="gradience-watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()

    def feed(self) -> None:
        """Begin the limit anew."""
        self._heard = time.monotonic()

    def _watch(self) -> None:
        while (left := self._heard + self._limit_s - time.monotonic()) > 0:
            if self._done.wait(left):
                return
        self._bite()
