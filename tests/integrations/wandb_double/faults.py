"""What a server can do to a request instead of answering it: switched on and off for each operation."""

import re
import threading
from collections import Counter
from enum import Enum
from typing import Final

import msgspec

EVERY: Final = "*"


class Way(Enum):
    """How a request is mistreated."""

    STATUS = "status"  # refused, with a status of HTTP
    HANG = "hang"  # read, and nothing comes back until the fault is cleared
    CLOSE = "close"  # cut before it has any effect
    LOST = "lost"  # it has its effect, and the answer to it gets lost
    DELAY = "delay"  # answered as always, late


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One way to mistreat a request; only one whose body matches the pattern, where there is one."""

    way: Way
    status: int = 0
    retry_after_s: int | None = None
    delay_s: float = 0.0
    pattern: str = ""


HANG: Final = Fault(way=Way.HANG)
CLOSE: Final = Fault(way=Way.CLOSE)
LOST: Final = Fault(way=Way.LOST)


def status(code: int, retry_after_s: int | None = None) -> Fault:
    """A refusal."""
    return Fault(way=Way.STATUS, status=code, retry_after_s=retry_after_s)


def poison(code: int, step: int) -> Fault:
    """A refusal of whatever holds one step of a history."""
    return Fault(way=Way.STATUS, status=code, pattern=rf'_step\\":{step}[,}}]')


def delay(seconds: float) -> Fault:
    """An answer that takes its time."""
    return Fault(way=Way.DELAY, delay_s=seconds)


class Faults:
    """The faults that are switched on; `hits` counts the requests that met one, by operation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on: dict[str, Fault] = {}
        self._left: dict[str, int] = {}
        self.hits: Counter[str] = Counter()
        self.released = threading.Event()

    def set(self, fault: Fault, operation: str = EVERY, times: int | None = None) -> None:
        """Mistreat an operation, or every one; until it is cleared, or so many times."""
        with self._lock:
            self._on[operation] = fault
            self._left.pop(operation, None)
            if times is not None:
                self._left[operation] = times

    def clear(self) -> None:
        """Treat every request well again; what hangs is cut."""
        with self._lock:
            self._on.clear()
            self._left.clear()
            self.released.set()
            self.released = threading.Event()

    def take(self, operation: str, body: bytes) -> Fault | None:
        """The fault that a request meets now, if any; counts it."""
        with self._lock:
            name = operation if operation in self._on else EVERY
            fault = self._on.get(name)
            if fault is None or not re.search(fault.pattern.encode(), body):
                return None
            self.hits[operation] += 1
            if name in self._left:
                self._left[name] -= 1
                if not self._left[name]:
                    del self._on[name], self._left[name]
            return fault
