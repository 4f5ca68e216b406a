"""Whether the journal that was delivered is the one that its run's end sealed: said, never a reason to stop."""

import logging
from pathlib import Path

from gradience.errors import TelemetryError
from gradience.mirror.groups import Group
from gradience.vnext import seal
from gradience.vnext.types import RunEnd, Seal

log = logging.getLogger("gradience.mirror")


class Sealed:
    """The last seal that a drain has passed: it covers everything before it, earlier seals too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seal: Seal | None = None
        self._line = 0

    def passed(self, group: Group) -> None:
        """Take note of the seals in a group."""
        for record in group.records:
            if isinstance(record.event, RunEnd) and record.event.seal is not None:
                self._seal, self._line = record.event.seal, record.line

    def check(self) -> None:
        """Read the file once more for a seal that has come since the last check, and say if it is broken."""
        taken, self._seal = self._seal, None
        try:
            if taken is None or seal.holds(self._path, taken):
                return
        except TelemetryError as gone:
            log.debug("The seal of %s cannot be checked: %s", self._path, gone)
            return
        what = f"line {self._line} sealed its first {taken.lines} lines, and they are others now"
        log.warning("%s was changed after its end: %s.", self._path, what)
