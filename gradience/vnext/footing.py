"""The name of a file that is open for a long time: what was recorded stays under it, whatever is done to the file.

`sed -i` and most editors put another file in its place, and a descriptor goes on writing into the old one, which
nobody can open any more. Only what is under the name counts as recorded.
"""

import logging
import os
from collections import deque
from pathlib import Path
from typing import Final

from gradience.errors import TelemetryError
from gradience.vnext import runs
from gradience.vnext.appender import Appender
from gradience.vnext.recorders import Claim

LOOK_S: Final = 1.0  # between two looks: four calls to the system, too much for every line

_COMPARED: Final = 1000  # lines at the end of a file that has taken the place: others may have added to it since

_log = logging.getLogger(__name__)


class Footing:
    """Watches the file of one appender, and moves it to the file that bears the name now.

    That is done only while `claim` holds: a folder that was deleted took the recorder's lock with it, and another
    process may record there. `looked` is the time that the last look was told, in seconds on any clock.
    """

    def __init__(self, appender: Appender, claim: Claim) -> None:
        self.looked = 0.0
        self._appender = appender
        self._claim = claim
        self._known = appender.stat().st_size  # bytes that are known to have stood under the name
        self._said: str | None = None

    def look(self, now: float) -> None:
        """See to it that every line is in the file of that name, and say what happened to it; never raises.

        Where they cannot be put there, that is said once, and the next look tries again.
        """
        self.looked = now
        try:
            happened = self._look()
        except (OSError, TelemetryError) as error:
            happened = f"was taken away while it was recorded, and its lines are lost unless it comes back: {error}"
        if happened and happened != self._said:
            _log.warning("%s %s", self._appender.path, happened)
        self._said = happened

    def _look(self) -> str | None:
        self._claim.renew()
        ours, named = self._appender.stat(), _stat(self._appender.path)
        if named is not None and os.path.samestat(ours, named):
            cut, self._known = self._known - ours.st_size, ours.st_size
            return f"was cut by {cut} bytes while it was recorded, and is continued" if cut > 0 else None
        if named is None and ours.st_nlink:
            return "was moved while it was recorded, and is continued where it is now, which no mirror knows"
        if named is not None:
            runs.check(self._appender.path)
        if (named is None or not named.st_size) and not ours.st_nlink:
            self._restore()
        else:
            self._follow()
        return f"was {'deleted' if named is None else 'replaced'} while it was recorded, and is continued"

    def _restore(self) -> None:
        """Put the whole file back at once, as nothing of it stands anywhere; who reads a part may take it for another.

        An empty file in its place was only made: by a recorder that was refused, for one.
        """
        path = self._appender.path
        draft = path.with_name(f"{path.name}.draft")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as stream:
                stream.writelines(self._appender.lines(0))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self._move(self._appender.stat().st_size)

    def _follow(self) -> None:
        """Put what the file of that name lacks into it, and write there from now on."""
        there = _last_lines(self._appender.path)
        known, start, end = frozenset(there), self._known, 0
        for line in self._appender.lines(0):
            end += len(line)
            if line in known:  # what follows it there, if not the end, is an edit or somebody else's
                start = end if line == there[-1] else max(start, end)
        self._move(start)

    def _move(self, start: int) -> None:
        """Write to the file of that name from now on, after the lines from an offset on."""
        heir = Appender(self._appender.path, create=True)
        try:
            for line in self._appender.lines(start):
                heir.append(line)
        except BaseException:
            heir.close()
            raise
        self._appender.become(heir)
        self._known = self._appender.stat().st_size


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _last_lines(path: Path) -> list[bytes]:
    """The last lines that have their newline; none where there is no file."""
    if _stat(path) is None:
        return []
    with path.open("rb") as stream:
        return list(deque((line for line in stream if line.endswith(b"\n")), _COMPARED))
