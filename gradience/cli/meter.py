"""How far a long delivery is, on one line of a terminal that overwrites itself; silent where no terminal is."""

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import click

from gradience.errors import TelemetryError
from gradience.report.plain import plain
from gradience.vnext import journal

REDRAW_S: Final = 0.2
WIDTH: Final = 24
_CLEAR: Final = "\r\x1b[K"


class Meter:
    """Draws while it is entered, and leaves nothing behind."""

    def __init__(self, journals: Sequence[Path], name: str) -> None:
        self._journals = journals
        what = plain(journals[0]) if len(journals) == 1 else f"{len(journals)} runs"
        self._label = f"{what} -> {name}"
        self._passed: dict[Path, int] = {}
        self.total: int | None = None
        self._drawn = time.monotonic()
        self._guard = threading.Lock()  # several deliveries may have something to show

    def __enter__(self) -> "Meter":
        if sys.stderr.isatty():
            threading.Thread(target=self._count, name="gradience-meter", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def show(self, path: Path, line: int) -> None:
        """Draw that a line of a journal was passed, not too often."""
        now = time.monotonic()
        with self._guard:
            self._passed[path] = line
            if now - self._drawn < REDRAW_S or not sys.stderr.isatty():
                return
            self._drawn = now
            click.echo(f"{_CLEAR}{self._label}: {self._text()}", err=True, nl=False)

    def clear(self) -> None:
        """Make way for something else to say."""
        if sys.stderr.isatty():
            click.echo(_CLEAR, err=True, nl=False)

    def _text(self) -> str:
        line = sum(self._passed.values())
        if self.total is None:
            return f"line {line:,}"
        share = min(line / self.total, 1.0) if self.total else 1.0
        return f"[{'#' * round(share * WIDTH):<{WIDTH}}] line {line:,} of {self.total:,}"

    def _count(self) -> None:
        """Beside the delivery: counting the lines of a long file takes a while."""
        total = 0
        for path in self._journals:
            with suppress(TelemetryError):
                total += sum(block.count(b"\n") for block, _ in journal.Scan(path).blocks())
        self.total = total
