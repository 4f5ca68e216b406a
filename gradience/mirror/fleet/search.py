"""The journals that are meant by files and directories; what is no telemetry in a directory is only counted."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from gradience.errors import TelemetryError
from gradience.mirror.groups import parse
from gradience.vnext import journal, state

_PROBED: Final = 20  # lines that a journal may start with before its first event: torn ones, blanks


class Found(msgspec.Struct, frozen=True):
    """Journals, each once; `skipped` .jsonl files of the directories hold no event at their beginning."""

    journals: tuple[Path, ...]
    skipped: int = 0


def find(places: Iterable[Path]) -> Found:
    """Files as they were named, and every telemetry .jsonl of a directory, however deep; in that order."""
    found: dict[Path, Path] = {}
    skipped: set[Path] = set()
    for place in places:
        for path in files(place) if place.is_dir() else (place,):
            own = path.resolve()
            if path is place or is_telemetry(path):
                found.setdefault(own, path)
            else:
                skipped.add(own)
    return Found(tuple(found.values()), len(skipped - found.keys()))


def files(directory: Path) -> Iterator[Path]:
    """Every .jsonl of a directory outside of state folders, sorted by folder."""
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.endswith(state.SUFFIX))
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".jsonl"))


def is_telemetry(path: Path) -> bool:
    """Whether one of a file's first lines is an event; False for a file that cannot be read."""
    try:
        return any(parse(line) for line in islice(journal.read(path), _PROBED))
    except TelemetryError:
        return False
