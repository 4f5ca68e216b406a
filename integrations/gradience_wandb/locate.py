"""Which W&B run belongs to a journal's run: the one that was named, else that with the id made of its run_id."""

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from gradience.errors import TargetGoneError
from gradience.mirror.sink import Run
from gradience_wandb.artifacts import Wanted
from gradience_wandb.core import Core
from gradience_wandb.faults import translated
from gradience_wandb.fragments import Fragments
from gradience_wandb.known import ROOT
from gradience_wandb.place import ONLINE, Place, Wish
from gradience_wandb.remote import Remote
from gradience_wandb.session import Memory, Session

OPEN_S: Final = 60.0
_LONGEST: Final = 64  # characters of an id, as users report
_FOREIGN: Final = re.compile(r"[^\w-]", re.ASCII)
_NAME: Final = 128  # characters of a run's name


def session(core: Core, place: Place, wish: Wish, run: Run, kinds: frozenset[str]) -> Session:
    """The open run that is meant.

    Raises:
        SinkError: it was deleted, is somebody else's, or cannot be asked for.
    """
    what = f"Finding the W&B run of {run.run_id}"
    with translated(what, opening=True), core.bounded(OPEN_S, what):
        memory = _memory(core, place, wish, run)
        known = memory.look()
    if known is None and run.tracked == memory.path and place.mode == ONLINE:
        raise TargetGoneError(
            f"W&B run {memory.path}, which earlier deliveries went to, is not there any more: name another with --run, "
            "or deliver everything to a new one with --from-start."
        )
    if known is not None and known.run_id != run.run_id:
        raise TargetGoneError(f"W&B run {memory.path} was not made for {run.run_id}: name another with --run.")
    return Session(core, memory, known, _first(wish, run), Wanted(kinds=kinds, journal=Path(run.journal)))


def derived(run_id: str) -> str:
    """The id of our run for a `run_id`: the same each time, and one that W&B takes."""
    cleaned = _FOREIGN.sub("_", run_id)
    if cleaned == run_id and len(run_id) <= _LONGEST:
        return run_id
    mark = sha256(run_id.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{cleaned[: _LONGEST - len(mark) - 1]}-{mark}"


def _memory(core: Core, place: Place, wish: Wish, run: Run) -> Memory:
    *above, run_id = (wish.run or derived(run.run_id)).split("/")
    project = above[-1] if above else place.project_for(run.meta.get("experiment"))
    entity = above[-2] if len(above) > 1 else place.entity
    if place.mode == ONLINE:
        return Remote(core, entity or core.default_entity(), project, run_id)
    return Fragments(core, place.directory, project, entity, run_id)


def _first(wish: Wish, run: Run) -> Mapping[str, Any]:
    """What a run is made with: ours from its first instant on, whatever happens then."""
    called = run.meta.get("run_name") or Path(run.journal).parent.name or run.run_id
    ours = {ROOT: {"run_id": run.run_id, "created_by": ROOT}}
    return {"name": str(called)[:_NAME], "group": wish.group, "config": ours}
