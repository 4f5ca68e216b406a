"""Events that a tracker will never take, kept with the reason: one JSON object per line, each journal line once."""

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from gradience.vnext import private
from gradience.vnext.record import Record


class DeadLetter(msgspec.Struct, frozen=True):
    """`line` counts from 1; `raw` is the journal's line as it stands there."""

    line: int
    reason: str
    raw: str


def read(path: Path) -> list[DeadLetter]:
    """The letters of a file, oldest first; none when there is no file. A torn line is no letter."""
    letters = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_bytes().split(b"\n"):
            with contextlib.suppress(msgspec.DecodeError):
                letters.append(msgspec.json.decode(line, type=DeadLetter))
    return letters


class DeadLetters:
    """The dead letters of one cursor. A crash may come between a letter and the cursor: no line is kept twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = {letter.line for letter in read(path)}

    def bury(self, record: Record, reason: str) -> None:
        """Keep a line for good before the cursor passes it."""
        if record.line in self._lines:
            return
        raw = record.raw.decode("utf-8", "replace").rstrip("\r\n")
        with private.open(self._path, "a+b") as file:
            file.write(_torn(file) + msgspec.json.encode(DeadLetter(record.line, reason, raw)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._lines.add(record.line)

    def clear(self) -> None:
        """Forget every letter: their lines are about to be delivered once more."""
        self._path.unlink(missing_ok=True)
        self._lines.clear()


def _torn(file: BinaryIO) -> bytes:
    """The newline that a killed process still owes, so that its torn letter swallows no other."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return b""
    file.seek(end - 1)
    return b"" if file.read(1) == b"\n" else b"\n"
