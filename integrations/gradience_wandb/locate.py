"""Which W&B run belongs to a journal's run: the one that was named, else that with the id made of its run_id."""

import logging
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from gradience.errors import TargetGoneError
from gradience.mirror import origin
from gradience.mirror.artifacts import Kind
from gradience.mirror.sink import Run
from gradience_wandb import adoption, foreign
from gradience_wandb.artifacts import Wanted
from gradience_wandb.core import Core
from gradience_wandb.faults import translated
from gradience_wandb.finished import Finished
from gradience_wandb.foreign import Foreign
from gradience_wandb.fragments import Fragments
from gradience_wandb.known import ROOT, Known
from gradience_wandb.place import ONLINE, Place, Wish
from gradience_wandb.remote import Remote
from gradience_wandb.session import Memory, Session
from gradience_wandb.supplement import Supplement

log = logging.getLogger("gradience.wandb")
Opened = Session | Finished | Supplement

OPEN_S: Final = 60.0
_LONGEST: Final = 64  # characters of an id, as users report
_FOREIGN: Final = re.compile(r"[^\w-]", re.ASCII)
_NAME: Final = 128  # characters of a run's name


def session(core: Core, place: Place, wish: Wish, run: Run, kinds: frozenset[Kind]) -> Opened:
    """The open run that is meant.

    Raises:
        SinkError: it was deleted, cannot be told from others, or cannot be asked for.
    """
    what = f"Finding the W&B run of {run.run_id}"
    with translated(what, opening=True), core.bounded(OPEN_S, what):
        found = _found(core, place, wish, run)
        other = _foreign(core, place, wish, run, found)
        if other is not None and other.is_over:
            return other.give(run, kinds)
        if other is not None:
            wish = _beside(wish, other, run)
            found = _look(core, place, wish, run)
    if wish.beside and found.known is None:
        log.warning("W&B run %s is not over, and would lose rows: a run beside it is used.", wish.beside)
    if found.known is None and run.tracked == found.memory.path and place.mode == ONLINE:
        raise TargetGoneError(
            f"W&B run {found.memory.path}, which earlier deliveries went to, is not there any more, and its id is "
            "spent: restore it, or deliver into another project with --project."
        )
    wanted = Wanted(kinds=kinds, journal=Path(run.journal))
    return Session(core, found.memory, found.known, _first(wish, run), wanted)


class _Found(msgspec.Struct, frozen=True):
    memory: Memory
    known: Known | None

    def is_foreign(self, run: Run) -> bool:
        """Whether it is there, and was not made for our run."""
        return self.known is not None and self.known.run_id != run.run_id


def _found(core: Core, place: Place, wish: Wish, run: Run) -> _Found:
    """The run that was named, else the one of our id, else the one that earlier deliveries went to."""
    if wish.run:
        return _named(core, place, wish, run)
    found = _look(core, place, wish, run)
    if found.is_foreign(run):  # somebody gave a run of theirs our run_id
        found = _look(core, place, msgspec.structs.replace(wish, run=_second(run)), run)
    if found.known is None and run.tracked not in (None, found.memory.path):
        return _look(core, place, msgspec.structs.replace(wish, run=run.tracked), run)
    return found


def _named(core: Core, place: Place, wish: Wish, run: Run) -> _Found:
    """The run that was named; a training may begin a new one of that id, an audit alone may not."""
    found = _look(core, place, wish, run)
    if found.known is None and "/" not in str(wish.run) and place.project is None:
        trainers = _look(core, place, msgspec.structs.replace(wish, run=f"{adoption.TRAINERS}/{wish.run}"), run)
        found = trainers if trainers.known is not None else found
    if found.known is None and not origin.trains(run):
        raise TargetGoneError(f"There is no W&B run {wish.run} at {place.address}: name it as ENTITY/PROJECT/ID.")
    return found


def _look(core: Core, place: Place, wish: Wish, run: Run) -> _Found:
    memory = _memory(core, place, wish, run)
    return _Found(memory, memory.look())


def _foreign(core: Core, place: Place, wish: Wish, run: Run, found: _Found) -> Foreign | None:
    """The run of somebody else's that is meant; None where it is one of ours."""
    if found.is_foreign(run):
        return foreign.named(core, place, found.memory.path)
    if found.known is not None or wish.run or run.tracked:
        return None
    return foreign.adopted(core, place, run)


def _beside(wish: Wish, other: Foreign, run: Run) -> Wish:
    """What is wished for instead of a run that goes on: one of ours in its project and group."""
    *above, taken = other.path.split("/")
    own = derived(run.run_id)
    path = "/".join([*above, _second(run) if own == taken else own])
    return msgspec.structs.replace(wish, run=path, group=wish.group or other.group, beside=other.path)


def _second(run: Run) -> str:
    """Our id where the usual one is taken."""
    return derived(f"{run.run_id}-{ROOT}")


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
    ours = {"run_id": run.run_id, "created_by": ROOT}
    first = {"name": str(called)[:_NAME], "group": wish.group, "config": {ROOT: ours}}
    if wish.beside is None:
        return first
    job_type = ROOT if origin.trains(run) else f"{ROOT}-audit"
    return {**first, "job_type": job_type, "config": {ROOT: {**ours, "of_run": wish.beside}}}
