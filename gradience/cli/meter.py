"""How far a long delivery is, on one line of a terminal that overwrites itself; silent where no terminal is."""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

import click

from gradience.report.plain import plain
from gradience.vnext import journal

REDRAW_S: Final = 0.2
_CLEAR: Final = "\r\x1b[K"


class Meter:
    """Draws while it is entered, and leaves nothing behind."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._label = f"{plain(path)} -> {name}"
        self._total: int | None = None
        self._drawn = time.monotonic()

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._total is not None:
            click.echo(_CLEAR, err=True, nl=False)

    def show(self, line: int) -> None:
        """Draw the last line passed, not too often."""
        now = time.monotonic()
        if now - self._drawn < REDRAW_S or not sys.stderr.isatty():
            return
        self._drawn = now
        if self._total is None:
            self._total = sum(1 for _ in journal.read(self._path))
        click.echo(f"{_CLEAR}{self._label}: line {line:,} of {self._total:,}", err=True, nl=False)
