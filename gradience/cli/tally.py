"""How far a batch of audits is: one line that overwrites itself on a terminal, one a minute in a log."""

import sys
import time
from collections import Counter
from types import TracebackType
from typing import Final

import click

from gradience.batch.work import Answer
from gradience.cli import output

REDRAW_S: Final = 0.2
LOGGED_S: Final = 60.0  # a log wants few lines
_CLEAR: Final = "\r\x1b[K"


class Tally:
    """Counts answers while it is entered, and says at the end what became of them."""

    def __init__(self, adapters: int) -> None:
        self._adapters = adapters
        self._counts: Counter[str] = Counter()
        self._unkept = 0
        self._told = time.monotonic()
        self._watched = sys.stderr.isatty()

    def __enter__(self) -> "Tally":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        if error is None or self._counts:
            output.talk(f"Audited {self._text()}")
        if self._unkept:
            output.talk(f"{self._unkept} audits could not be kept for another time: is the disk of the cache full?")

    def count(self, answer: Answer) -> None:
        """Count one, and tell of it if the time has come."""
        self._counts[answer.source] += 1
        self._unkept += not answer.kept
        now = time.monotonic()
        if now - self._told < (REDRAW_S if self._watched else LOGGED_S):
            return
        self._told = now
        click.echo(f"{_CLEAR}{self._text()}" if self._watched else self._text(), err=True, nl=not self._watched)

    def clear(self) -> None:
        """Make way for something else to say."""
        if self._watched:
            click.echo(_CLEAR, err=True, nl=False)

    def _text(self) -> str:
        measured, known, refused = (self._counts[source] for source in ("measured", "cache", "refused"))
        return (
            f"{measured + known} of {self._adapters} adapters:"
            f" {measured} measured, {known} from the cache, {refused} refused"
        )
