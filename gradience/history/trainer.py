"""The run of a Hugging Face Trainer, from its output directory: the state, and the settings that lie beside it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gradience.errors import GradienceError, InputError
from gradience.history import trainer_state
from gradience.history.history import History
from gradience.settings import snapshot, sources
from gradience.vnext.types import RunStart

ESTIMATED: Final = "a Trainer's state has no times: all events have that of the file"


def read(place: Path) -> History:
    """The run of a state, or of the directory of one.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    state = place if place.is_file() else trainer_state.find(place)
    if state is None:
        raise InputError(
            f"cannot import {place}: no {trainer_state.NAME} in it or in a checkpoint of it; "
            "name a Trainer's output directory"
        )
    return History(origin=state.resolve().as_uri(), events=_events(state), notes=(ESTIMATED,))


def _events(state: Path) -> Iterator[dict[str, Any]]:
    content = trainer_state.read(state)
    for event in trainer_state.events(content, run_id="", ts=state.stat().st_mtime):
        told = {key: value for key, value in event.items() if key not in ("schema", "run_id")}
        if told["event"] == RunStart.name:
            told["config"] = snapshot.fill(told["config"], _settings(state.parent))
            told["meta"] = {**told.get("meta", {}), "output_dir": str(_output_dir(state.parent)), "ts_estimated": True}
        yield told


def _settings(folder: Path) -> Mapping[str, Any]:
    """What the files beside a state say of the training and of the adapter, as far as they can be read."""
    return snapshot.fill(_readable(sources.adapter, folder), _readable(sources.training, folder))


def _readable(reader: Callable[[Path], dict[str, Any]], folder: Path) -> dict[str, Any]:
    try:
        return reader(folder)
    except GradienceError:
        return {}


def _output_dir(folder: Path) -> Path:
    here = folder.resolve()
    return here.parent if here.name.startswith("checkpoint-") else here
