"""Who may write to a telemetry file: one recorder at a time, in the process that opened it, on rank 0.

Across processes the lock in the state folder decides. Inside a process a new recorder replaces the old one, because
that is what a notebook cell that runs again means.
"""

import logging
import os
import threading
from pathlib import Path
from typing import Protocol

from gradience.errors import TelemetryError
from gradience.vnext import lock, state

_log = logging.getLogger(__name__)
_guard = threading.RLock()  # a claim may end another one


class Recorder(Protocol):
    """What a writer lets be done to it."""

    def replaced(self) -> None:
        """Let the file go without another word in it: a new recorder has taken it over."""

    def muted(self) -> None:
        """Write nothing from now on: this is a forked child, and the recorder is its parent's."""


class Claim:
    """The right of one recorder to a file, until it is released."""

    def __init__(
        self, place: Path, recorder: Recorder, held: lock.Lock | None, state_dir: str | Path | None = None
    ) -> None:
        self.recorder = recorder
        self._place = place
        self._held = held
        self._state_dir = state_dir

    def renew(self) -> None:
        """Take the lock again where somebody deleted its file; never after the release, nor at the same time.

        Raises:
            TelemetryError: Another process has taken it meanwhile, and records to the file.
        """
        # Without the guard: whoever claims holds it while it waits for a recorder, which may be here.
        if self._held is not None and not self._held.is_in_place():
            self._held.release()
            self._held = _lock(self._place, self._state_dir)

    def release(self) -> None:
        """Give the file up; may be called again."""
        with _guard:
            if _claims.get(self._place) is self:
                del _claims[self._place]
            if self._held is not None:
                self._held.release()


_claims: dict[Path, Claim] = {}


def claim(place: Path, recorder: Recorder, state_dir: str | Path | None = None) -> Claim:
    """Make `recorder` the one recorder of the file at a resolved path; another one in this process is replaced.

    Where locks do not work, or no state folder can be made, a warning is logged and the claim holds in this process.

    Raises:
        TelemetryError: Another process records to the file, or the state directory given cannot be used.
    """
    with _guard:
        if place in _claims:
            _log.info("a new recorder of %s replaces the one that was open in this process", place)
            _claims[place].recorder.replaced()
        _claims[place] = Claim(place, recorder, _lock(place, state_dir), state_dir)
        return _claims[place]


def is_silent_rank() -> bool:
    """Whether this process is one of a distributed run whose rank 0 records for all."""
    rank = os.environ.get("RANK", "").strip()
    if not rank.isdigit() or int(rank) == 0:
        return False
    # Outside of a launcher RANK may be anything, a LoRA rank for one: then silence must not go unnoticed.
    level = logging.INFO if os.environ.get("WORLD_SIZE") else logging.WARNING
    _log.log(level, "RANK=%s: telemetry is written by rank 0 alone, nothing is recorded here", rank)
    return True


def _lock(path: Path, state_dir: str | Path | None) -> lock.Lock | None:
    try:
        place = state.folder(path, state_dir) / state.RECORDER_LOCK
        return lock.acquire(place)
    except BlockingIOError:
        raise TelemetryError(
            f"cannot record to {path}: {lock.holder(place) or 'another process'} is recording to it; "
            "end that one, or name another file"
        ) from None
    except TelemetryError as error:
        if state_dir is not None:
            raise
        reason: Exception = error
    except OSError as error:
        reason = error
    _log.warning("no lock on %s (%s): nothing keeps a second recorder away", path, reason)
    return None


def _mute_child() -> None:
    global _guard
    _guard = threading.RLock()
    for held in _claims.values():
        held.recorder.muted()
    _claims.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mute_child)
