"""Whose run an address is: a directory of a Trainer or of a tracker, or the name of a tracker and its own address.

Trackers offer themselves under the entry-point group `gradience.histories`; none is imported until it is asked for.
"""

from importlib import metadata
from pathlib import Path
from typing import Final

from gradience.errors import ExtraMissingError, InputError
from gradience.history import trainer
from gradience.history.history import Histories, History, Progress
from gradience.settings.nearest import nearest

GROUP: Final = "gradience.histories"
_WANDB: Final = "wandb"  # whose runs can lie in a folder


def read(source: str, *, tracking_uri: str | None = None, progress: Progress | None = None) -> History:
    """The run that `source` names: a path, or `mlflow:RUN_ID`, `wandb:ENTITY/PROJECT/RUN` and the like.

    Raises:
        InputError: there is no such run, or nothing that is installed can read it.
    """
    path = Path(source)
    if path.exists():
        if path.suffix == ".wandb" or (path.is_dir() and any(path.glob("*.wandb"))):
            return _tracker(_WANDB).read(source, tracking_uri=tracking_uri, progress=progress)
        return trainer.read(path)
    name, colon, address = source.partition(":")
    if not colon or not address:
        raise InputError(
            f"cannot import {source}: there is no such file or directory; give one, or mlflow:RUN_ID, "
            "wandb:ENTITY/PROJECT/RUN"
        )
    return _tracker(name).read(address, tracking_uri=tracking_uri, progress=progress)


def _tracker(name: str) -> Histories:
    offered = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
    if name not in offered:
        meant = nearest(name, offered)
        hint = f"did you mean {meant}:?" if meant else f"there are {', '.join(sorted(offered))}"
        raise InputError(f"cannot import from {name}: nothing installed here reads its runs; {hint}")
    try:
        made: Histories = offered[name].load()()
    except ImportError as error:
        raise ExtraMissingError(
            f'cannot import from {name}: {error}; in a checkout: pip install -e ".[{name}]"'
        ) from None
    return made
