"""Which recorded runs are meant by files, patterns and directories: journals, and what a Trainer left where none is."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gradience.audit.disk import folder, trainer
from gradience.errors import InputError
from gradience.history import trainer_state
from gradience.mirror.fleet import search

_SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".json")
_WEIGHTS: Final = (*folder.WEIGHTS, *trainer.FOREIGN)


def find(places: Sequence[str]) -> list[str]:
    """The runs, each once, in the order in which they are named.

    Raises:
        InputError: A directory holds none.
    """
    return list(dict.fromkeys(found for place in places for found in _meant(place)))


def is_run(place: str) -> bool:
    """Whether a place is meant as a recorded run: a file of one, a pattern of files, or a directory without an adapter.

    A directory with an adapter is that adapter, whatever else lies in it.
    """
    path = Path(place)
    if path.is_dir():
        is_adapter = trainer.home(path) is not None or any((path / name).is_file() for name in _WEIGHTS)
        return not is_adapter and bool(_within(path))
    return path.name.endswith(_SUFFIXES)


def is_trainer_state(place: str) -> bool:
    """Whether a file is to be read as one that a Trainer wrote: JSON by its name, and no journal."""
    return place.endswith(".json") and not search.is_telemetry(Path(place))


def _meant(place: str) -> list[str]:
    path = Path(place)
    if path.is_dir():
        found = _within(path)
        if not found:
            raise InputError(
                f"cannot find a recorded run in {place}: no .jsonl file in it is telemetry, and there is no "
                f"{trainer_state.NAME}; name the file"
            )
        return found
    if os.path.lexists(path) or not glob.has_magic(place):
        return [place]
    return sorted(glob.glob(place)) or [place]  # noqa: PTH207 - as a shell would


def _within(path: Path) -> list[str]:
    """The journals of a directory; else its Trainer's state, or those of the directories in it."""
    journals = search.find([path]).journals
    if journals:
        return list(map(str, journals))
    states = [trainer_state.find(path)]
    if states == [None]:
        states = [trainer_state.find(child) for child in sorted(path.iterdir()) if child.is_dir()]
    return [str(state) for state in states if state is not None]
