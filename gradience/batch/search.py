"""The adapters that are meant by directories, patterns and references; what does not exist is left to the audit."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from gradience import references
from gradience.audit.disk import folder, foreign, trainer
from gradience.errors import AdapterError

_MARKS = frozenset({trainer.CONFIG, *folder.WEIGHTS})  # weights alone are an adapter too: one that is refused


class Found(msgspec.Struct, frozen=True):
    """Adapters, each once, as the audit is to be given them; `several` where a table was asked for, not a report."""

    adapters: tuple[str, ...]
    several: bool


def find(places: Sequence[str]) -> Found:
    """The adapters that `places` name, in that order; a directory of adapters means every one below it.

    A Trainer's output without a final adapter stays one place: which checkpoint is meant is not this search's to say.
    """
    once: dict[str, str] = {}
    for place in places:
        for found in _meant(place):
            once.setdefault(os.path.realpath(found), found)
    adapters = tuple(once.values())
    return Found(adapters, several=len(places) > 1 or adapters != tuple(places))


def _meant(place: str) -> list[str]:
    if references.parse(place):
        return [place]
    try:
        return _found(place)
    except OSError:  # a name that is too long for any file
        return [place]


def _found(place: str) -> list[str]:
    if glob.has_magic(place) and not Path(place).exists():
        matches = sorted(glob.iglob(place, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        return [found for match in matches for found in _in(match)] or [place]
    return _in(place) or [place]


def _in(place: str) -> list[str]:
    if not Path(place).is_dir():
        return [place] if _is_foreign(Path(place)) else []
    return [place] if _is_one(Path(place)) else list(_below(place))


def _is_one(place: Path) -> bool:
    """Whether the audit is to see this directory itself: an adapter, or a Trainer's output."""
    if trainer.home(place) or any((place / name).is_file() for name in folder.WEIGHTS):
        return True
    return os.access(place, os.R_OK | os.X_OK) and bool(trainer.checkpoints(place))


def _below(place: str) -> Iterator[str]:
    unreadable: list[str] = []  # the audit says why
    for here, folders, names in os.walk(place, onerror=lambda error: unreadable.append(error.filename)):
        folders.sort()
        yield from [here] if _MARKS.intersection(names) else _foreign(here, names)
    yield from unreadable


def _foreign(here: str, names: Sequence[str]) -> Sequence[str]:
    """Files of other tools; the only one of a directory goes by the directory's name."""
    files = [path for name in sorted(names) if _is_foreign(path := Path(here, name))]
    return [here] if len(files) == 1 else [os.path.join(here, path.name) for path in files]  # noqa: PTH118 - as typed


def _is_foreign(path: Path) -> bool:
    try:
        return path.suffix == ".safetensors" and path.is_file() and foreign.layout(path) is not None
    except AdapterError:
        return False
