"""Runs whose recorder was killed: their lock is free, and nobody wrote an end."""

import socket
from contextlib import suppress
from pathlib import Path

from gradience.errors import TelemetryError
from gradience.vnext import lock, runs, state


def is_left(path: Path, state_dir: Path | None = None) -> bool:
    """Whether a recorder was at work on this machine, and none is now.

    Of a file that was recorded elsewhere, or where locks do not work, nothing can be told.
    """
    places = [folder / state.RECORDER_LOCK for folder in state.places(path, state_dir)]
    return any(map(_was_ours, places)) and not any(map(lock.holder, places))


def is_unended(path: Path, state_dir: Path | None = None) -> bool:
    """Whether nobody will end the journal's last run any more."""
    with suppress(TelemetryError):
        last = runs.last(path)
        return last is not None and runs.status(path, last.run_id) is None and is_left(path, state_dir)
    return False


def _was_ours(place: Path) -> bool:
    """Whoever gets a lock signs its file, with pid and host."""
    try:
        return place.read_text(encoding="utf-8", errors="replace").split()[1:] == [socket.gethostname()]
    except OSError:
        return False
