"""Whether W&B can be used, found out without a run: the server is asked who we are, the folder whether it is ours."""

import os
from pathlib import Path

from gradience.errors import TargetGoneError
from gradience_wandb.core import Core
from gradience_wandb.faults import translated
from gradience_wandb.place import OFFLINE, Place, Wish
from gradience_wandb.remote import Remote


def probe(place: Place, wish: Wish, timeout_s: float) -> str:
    """What answered, in one line; nobody is asked to log in.

    Raises:
        SinkError: nothing did, or not to us; or the run that `wish` names is not there.
    """
    if place.mode == OFFLINE:
        return _offline(place.directory)
    core, what = Core(place), f"Asking W&B at {place.address}"
    try:
        with translated(what, opening=True), core.bounded(timeout_s, what):
            return f"the W&B server knows {core.api().viewer.username}{_run(core, place, wish)}"
    finally:
        core.end()


def _offline(directory: Path) -> str:
    there = next(folder for folder in (directory, *directory.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise TargetGoneError(f"W&B is offline, and {directory} cannot be written: set WANDB_DIR to another folder.")
    return "W&B is offline here, and its folder can be written"


def _run(core: Core, place: Place, wish: Wish) -> str:
    """The same of the run that was named."""
    if not wish.run:
        return ""
    *above, run_id = wish.run.split("/")
    entity = above[-2] if len(above) > 1 else place.entity or core.default_entity()
    run = Remote(core, entity, above[-1] if above else place.project_for(None), run_id)
    if run.look() is None:
        raise TargetGoneError(f"there is no W&B run {run.path}: name another.")
    return f", and run {run.path} is there"
