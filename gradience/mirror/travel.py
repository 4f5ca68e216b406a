"""The journal as a file on its tracked run: whole lines, compressed, up to the place that was delivered.

The same lines make the same bytes, so that a repeated upload changes nothing; `gunzip` gives them back, with the seal
of their run's end intact.
"""

import gzip
import hashlib
import re
from pathlib import Path
from typing import Final

from gradience.errors import TelemetryError
from gradience.mirror.groups import parse
from gradience.mirror.sink import Batch
from gradience.vnext import journal
from gradience.vnext.types import RunEnd, RunStart, TrainStep

FOLDER: Final = "telemetry"
LARGEST: Final = 1 << 30  # bytes of lines: a minute of one core, and a few minutes' worth of a tracker's patience
_LEVEL: Final = 6
_LONGEST: Final = 100  # characters of a name
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_.-]")


def is_due(batch: Batch, path: Path) -> bool:
    """Whether a batch brings the journal to its tracked run: the run is over, and no more of it is here to come."""
    return _is_over(batch) and not _goes_on(batch, path)


def name(path: Path) -> str:
    """The file's name on the tracked run, `telemetry/run.jsonl.gz`: safe in every store, the journal's own if it is."""
    own = path.name.removesuffix(".gz")
    safe = _FOREIGN.sub("_", own).lstrip(".")[-_LONGEST:] or "_"
    if safe != own:
        safe = f"{hashlib.sha256(own.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}-{safe}"
    return f"{FOLDER}/{safe}.gz"


def pack(path: Path, end: int, packed: Path) -> None:
    """Write the first `end` bytes of a journal to a compressed file, piece by piece.

    Raises:
        TelemetryError: the journal is too large, shorter than that or not readable; or there is no room for the file.
    """
    if end > LARGEST:
        raise TelemetryError(f"{path} is not uploaded: {end} bytes of lines are over the limit of {LARGEST}")
    left = end
    try:
        with packed.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as out:
            for piece in journal.Scan(path).pieces():
                out.write(piece[:left])
                left -= len(piece[:left])
                if not left:
                    return
    except OSError as error:
        raise TelemetryError(f"{path} is not uploaded: {error.strerror or error}") from error
    raise TelemetryError(f"{path} is not uploaded: it is shorter than what was delivered")


def _is_over(batch: Batch) -> bool:
    """Whether the run has come to its end after a batch; an audit that follows does not make it go on."""
    for record in reversed(batch.records):
        if isinstance(record.event, RunEnd | RunStart | TrainStep):
            return isinstance(record.event, RunEnd)
    return batch.ended


def _goes_on(batch: Batch, path: Path) -> bool:
    """Whether the next line is of the same run: its batch will bring the journal, with more of it."""
    last = batch.records[-1]
    try:
        line = next(journal.read(path, start=last.end, line=last.line), None)
    except TelemetryError:
        return False  # `pack` will say so
    record = parse(line) if line else None
    return record is not None and record.event.run_id == last.event.run_id
