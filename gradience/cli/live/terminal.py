"""A live run on a terminal: a picture on a screen of its own, which leaves nothing behind."""

import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final

from gradience.cli.live import picture
from gradience.cli.live.picture import Live
from gradience.vnext.types import Severity

if TYPE_CHECKING:
    import rich.live
    import rich.text

REDRAW_S: Final = 0.25
TERMINATED: Final = 128 + signal.SIGTERM


class Terminal:
    """Draws over itself; on SIGTERM, as at any other end, the terminal is left as it was."""

    def __enter__(self) -> "Terminal":
        from rich.console import Console  # the one user of it
        from rich.live import Live as Display

        self._console = Console(highlight=False, markup=False)
        self._display: rich.live.Live = Display(console=self._console, screen=True, auto_refresh=False)
        self._before = signal.signal(signal.SIGTERM, _leave)
        self._drawn = 0.0
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()
        signal.signal(signal.SIGTERM, self._before)

    def show(self, live: Live, evals: Sequence[str]) -> None:  # noqa: ARG002 - the picture has the latest of each
        """Draw, not too often."""
        now = time.monotonic()
        if now - self._drawn < REDRAW_S and not live.seen.ended:
            return
        self._drawn = now
        self._display.update(self._text(live), refresh=True)

    def _text(self, live: Live) -> "rich.text.Text":
        from rich.text import Text

        size = self._console.size
        text = Text(no_wrap=True, overflow="crop")
        for one in picture.lines(live, size.width)[: size.height - 1]:
            text.append(f"{one.text}\n", style=_STYLES[one.severity] if one.severity else "bold" * one.is_title)
        text.append("  Ctrl-C stops watching; the run goes on."[: size.width], style="dim")
        return text


_STYLES: Final = {
    Severity.INFO: "",
    Severity.WARNING: "magenta",
    Severity.ERROR: "bold red",
    Severity.CRITICAL: "bold red",
}


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)
