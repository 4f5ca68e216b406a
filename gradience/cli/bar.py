"""A bar with the time left, on a terminal, for work that takes more than a moment; it leaves nothing behind."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TextIO

import click

AFTER_S: Final = 1.0  # what is done by then needs no bar
_CLEAR: Final = "\r\x1b[K\x1b[?25h"  # and the cursor back, which a bar hides


class Bar:
    """Call it with what is done and what there is in all; a new total, or less done than before, is a new stretch."""

    def __init__(self, label: str, *, file: TextIO | None = None, clock: Callable[[], float] = time.time) -> None:
        self._label = label
        self._file = file or sys.stderr
        self._clock = clock
        self._done = self._total = 0
        self._bar: Any = None

    def __enter__(self) -> "Bar":
        self._began = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def __call__(self, done: int, total: int) -> None:
        """Draw, if it is time to."""
        if total != self._total or done < self._done:
            self._clear()
            self._total, self._began = total, self._clock()
        self._done = done
        if self._bar is None and self._file.isatty() and self._clock() - self._began > AFTER_S:
            self._bar = click.progressbar(length=total, label=self._label, file=self._file)
            self._bar.start = self._began  # the time left follows from the time taken
        if self._bar is not None:
            self._bar.update(done - self._bar.pos)

    def _clear(self) -> None:
        if self._bar is not None:
            self._bar = None
            click.echo(_CLEAR, file=self._file, nl=False)
