"""A tracker in a folder, for tests across processes: what one delivers, another can read.

Each tracked run is a folder with the lines that were delivered, by number, and its status. A file `fault` in the
tracker's folder decides how it answers meanwhile: `refused`, `gone` or `hang`.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote

import msgspec

from gradience.errors import TargetGoneError, UnavailableError
from gradience.mirror.sink import Batch, Position, Run, Tracked
from gradience.vnext.types import RunEnd, RunStart, RunStatus

FOR_EVER_S: Final = 1e6
LONGEST: Final = 200  # characters of a name
RUNNING: Final = "running"


class Delivered(msgspec.Struct, frozen=True):
    """One line, as it was delivered, and the process that did so."""

    line: int
    raw: str
    pid: int


class FolderRun:
    """One tracked run, read back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def status(self) -> str | None:
        """`running`, or how the run ended; None before anything is known."""
        return _read(self._folder / "status")

    @property
    def position(self) -> Position | None:
        """How far the journal was delivered."""
        return Position.parse(_read(self._folder / "position") or "")

    @property
    def deliveries(self) -> list[Delivered]:
        """Every line as often as it was delivered; a delivery that a kill cut short is none."""
        whole = (_read(self._folder / "lines") or "").rpartition("\n")[0]
        return [msgspec.json.decode(line, type=Delivered) for line in whole.splitlines()]

    @property
    def rows(self) -> dict[int, str]:
        """The lines that the tracker holds, by number."""
        return {delivered.line: delivered.raw for delivered in self.deliveries}

    def say(self, status: str) -> None:
        """Set the status."""
        _replace(self._folder / "status", status)


class FolderSink:
    """A sink of such a tracker; by name it is `gradience.testing.folder:FolderSink`.

    Args:
        root: the tracker's folder.
        tracking_uri: the same, as the command line gives it.
    """

    name: ClassVar[str] = "folder"
    process_env: ClassVar[Mapping[str, str | None]] = {"GRADIENCE_FOLDER_SINK": "1"}

    def __init__(self, *, root: str = ".", tracking_uri: str | None = None) -> None:
        self._root = Path(tracking_uri or root)
        self._open: Path | None = None

    @property
    def target(self) -> str:
        """The folder."""
        return str(self._root.absolute())

    def probe(self, timeout_s: float) -> str:  # noqa: ARG002 - a folder never blocks
        """How many runs the folder holds."""
        self._answer()
        return f"a folder with {len(runs(self._root))} runs" if self._root.is_dir() else "no folder yet"

    def open(self, run: Run) -> Tracked:
        """Find the run's folder, or make it."""
        self._answer()
        folder = self._root / _name(run.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        _forget_torn(folder / "lines")
        self._open = folder
        return Tracked(id=folder.name, url=folder.absolute().as_uri(), position=FolderRun(folder).position)

    def deliver(self, batch: Batch) -> None:
        """Add the lines of a batch, then its position."""
        if self._open is None:
            raise RuntimeError("deliver was called before open")
        self._answer()
        rows = [Delivered(record.line, record.raw.decode(), os.getpid()) for record in batch.records]
        with (self._open / "lines").open("ab") as file:
            file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
        for record in batch.records:
            if isinstance(record.event, RunStart):
                FolderRun(self._open).say(RUNNING)
            if isinstance(record.event, RunEnd):
                FolderRun(self._open).say(record.event.status)
        _replace(self._open / "position", str(batch.position))

    def close(self, status: RunStatus | None, timeout_s: float) -> None:  # noqa: ARG002 - a folder never blocks
        """Let go; a status ends the run, if it still runs."""
        folder, self._open = self._open, None
        if folder is not None and status is not None and FolderRun(folder).status in (None, RUNNING):
            FolderRun(folder).say(status.value)

    def _answer(self) -> None:
        fault = _read(self._root / "fault")
        if fault == "refused":
            raise UnavailableError("connection refused")
        if fault == "gone":
            raise TargetGoneError("no permission: log in")
        if fault == "hang":
            time.sleep(FOR_EVER_S)


def runs(root: Path) -> dict[str, FolderRun]:
    """What a tracker holds, by run."""
    return {folder.name: FolderRun(folder) for folder in sorted(root.iterdir()) if folder.is_dir()}


def _name(run_id: str) -> str:
    """A folder's name for any run_id: never one of the folder above, nor too long for a disk."""
    name = quote(run_id, safe="", errors="surrogatepass")
    if name.strip(".") and len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST // 2]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _forget_torn(lines: Path) -> None:
    """Cut off what a kill left of a delivery: the next one would be joined to it."""
    held = lines.read_bytes() if lines.exists() else b""
    if held and not held.endswith(b"\n"):
        os.truncate(lines, held.rfind(b"\n") + 1)


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
