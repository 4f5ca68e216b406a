"""What a tracker's library prints and logs, without secrets: it quotes the addresses that it was given.

A process that holds such a library has its stdout and stderr scrubbed before the library is imported.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from gradience.mirror import reason


@contextmanager
def output() -> Iterator[None]:
    """Scrub what this process writes to stdout and stderr through Python, meanwhile."""
    before = sys.stdout, sys.stderr
    # A process may have been started without a stream.
    sys.stdout, sys.stderr = (cast("TextIO", stream and Scrubbed(stream)) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


class Scrubbed:
    """A text stream in front of another one, which gets whole lines, or what there is when it is flushed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._held = ""
        self._guard = threading.RLock()  # a signal's handler may print while its thread does

    def write(self, text: str) -> int:
        """Take a text; its whole lines go on."""
        with self._guard:
            lines, newline, self._held = (self._held + text).rpartition("\n")
            if newline:
                self._stream.write(reason.safe(lines + newline))
        return len(text)

    def writelines(self, texts: list[str]) -> None:
        """Take several."""
        self.write("".join(texts))

    def flush(self) -> None:
        """Hand on what there is."""
        with self._guard, suppress(ValueError):  # the stream may be closed already, at the end of the process
            held, self._held = self._held, ""
            self._stream.write(reason.safe(held))
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
