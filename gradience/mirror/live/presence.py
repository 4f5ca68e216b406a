"""Whether the recorder that a live drain works for is still at work."""

import os
from enum import Enum
from pathlib import Path

from gradience.vnext import lock


class Presence(Enum):
    """What the recorder's lock tells."""

    AT_WORK = 1
    GONE = 2
    REPLACED = 3  # another process records to the file now


def look(place: Path, recorder: int) -> Presence:
    """Who records, by the recorder's lock at `place`; `recorder` is the pid of the one that is meant.

    Where locks do not work, a recorder is at work for as long as its process is ours or our parent: pids are used
    again, but a parent does not change.
    """
    holder = lock.holder(place)
    if holder is not None:
        return Presence.AT_WORK if holder.pid in (0, recorder) else Presence.REPLACED
    if _was_locked(place):
        return Presence.GONE
    return Presence.AT_WORK if recorder in (os.getpid(), os.getppid()) else Presence.GONE


def _was_locked(place: Path) -> bool:
    """Whoever gets a lock signs its file."""
    try:
        return place.stat().st_size > 0
    except OSError:
        return False
