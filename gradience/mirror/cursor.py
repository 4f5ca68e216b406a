"""How far one sink target has taken a journal: a small file beside it, saved only after delivery.

The journal is the queue and this is its read mark, so an outage is nothing but a cursor that is behind.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path

import msgspec

from gradience.errors import TelemetryError
from gradience.mirror.history import History
from gradience.mirror.sink import Run, Tracked
from gradience.vnext import private, state

log = logging.getLogger("gradience.mirror")

_LONGEST = 100  # characters of a sink's name in a file's


class Delivery(str, Enum):
    """How a target stands towards a journal."""

    BEHIND = "behind"
    UP_TO_DATE = "up_to_date"
    UNAVAILABLE = "unavailable"
    PARKED = "parked"  # only a person can mend it


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the journal: when it began, where it is tracked, and its last line that was delivered there."""

    started: float
    tracked: str | None = None
    url: str | None = None
    viewer: str | None = None
    upload: str | None = None
    line: int = 0
    history: History = History()


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """The place up to which every line was delivered or set aside; `offset` is in bytes, `updated` in Unix seconds.

    While `from_start` is set, everything is being delivered once more and what trackers remember counts for nothing.
    `replaced` says that the place is of another file or tracked run than those of now, so that it means nothing.
    """

    journal: str
    sink: str
    target: str
    offset: int = 0
    line: int = 0
    fingerprint: str = ""
    runs: dict[str, Mark] = {}
    from_start: bool = False
    replaced: bool = False
    state: Delivery = Delivery.BEHIND
    error: str | None = None
    updated: float = 0.0

    @property
    def present(self) -> "Cursor":
        """The same in the journal as it is now: at the start of one that was replaced."""
        return msgspec.structs.replace(self, offset=0, line=0) if self.replaced else self

    @property
    def tracked(self) -> dict[str, Tracked]:
        """The tracked runs, by the run_id that each mirrors."""
        return {
            run_id: Tracked(id=mark.tracked, url=mark.url, viewer=mark.viewer, upload=mark.upload)
            for run_id, mark in self.runs.items()
            if mark.tracked is not None
        }


def check_name(journal: Path) -> None:
    """Refuse a journal that neither a cursor nor a tracker can name.

    Raises:
        TelemetryError: it has bytes in its name that are no text.
    """
    try:
        str(journal.resolve()).encode()
    except UnicodeEncodeError:
        raise TelemetryError(f"cannot deliver {journal}: its name, or a folder's, is no UTF-8; rename it") from None


class CursorFile:
    """The place on disk of one target's cursor, with its dead letters beside it, and the lock of its tracker.

    Raises:
        TelemetryError: as `check_name`, or there is no folder for it.
    """

    def __init__(self, journal: Path, sink: str, target: str, state_dir: Path | None = None) -> None:
        check_name(journal)
        folder = state.folder(journal, state_dir)
        stem = _stem(sink, target)
        self.path = folder / f"{stem}.json"
        self.dead_letters = folder / f"{stem}.dead.jsonl"
        self.lock = folder / lock_name(sink, target)

    def load(self) -> Cursor | None:
        """What was saved last; None when nothing was, or what is there cannot be read and was set aside.

        Raises:
            TelemetryError: it is another user's, and its own.
        """
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Cursor)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            mend = "deliver as the user whose it is, or keep your own with --state-dir"
            raise TelemetryError(f"cannot read cursor {self.path}: {error.strerror}; {mend}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as broken:
            aside = self.path.with_suffix(".corrupt")
            self.path.replace(aside)
            log.warning(
                "Cursor %s is corrupt (%s): set aside as %s; the tracker is asked instead.",
                self.path,
                broken,
                aside.name,
            )
            return None

    def save(self, cursor: Cursor) -> None:
        """Replace the file whole, durably: after a crash it is either the old cursor or the new one."""
        draft = self.path.with_suffix(".tmp")
        with private.open(draft, "wb") as file:
            file.write(msgspec.json.encode(cursor))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)

    def run(self, cursor: Cursor, run_id: str) -> Run:
        """A run that a cursor knows, as a sink finds it again."""
        mark = cursor.runs[run_id]
        return Run(
            run_id=run_id,
            journal=cursor.journal,
            started=mark.started,
            tracked=mark.tracked,
            state_dir=str(self.path.parent),
        )


def lock_name(sink: str, target: str) -> str:
    """The file whose lock is the turn to deliver: a tracker has one, because a run_id is one tracked run there."""
    return f"{_stem(sink, address(target))}.lock"


def address(target: str) -> str:
    """The tracker of a target, without what a sink says after `#`: where in it a new run goes."""
    return target.partition("#")[0]


def cursors(journal: Path, state_dir: Path | None = None) -> Iterator[tuple[Path, Cursor]]:
    """Every cursor of a journal that can be read, each with its file."""
    for folder in state.places(journal, state_dir):
        for place in sorted(folder.glob("*.json")):
            with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
                yield place, msgspec.json.decode(place.read_bytes(), type=Cursor)


def _stem(sink: str, target: str) -> str:
    digest = hashlib.blake2b(target.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', sink)[:_LONGEST]}-{digest}"
