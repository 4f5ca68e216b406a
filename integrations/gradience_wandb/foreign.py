"""A run of somebody else's that is meant, and how it can be given something: only when it is over."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec

from gradience.errors import TargetGoneError
from gradience.mirror import origin
from gradience.mirror.sink import Run
from gradience_wandb import adoption, recorded
from gradience_wandb.core import Core
from gradience_wandb.finished import Finished
from gradience_wandb.place import ONLINE, Place
from gradience_wandb.remote import known
from gradience_wandb.supplement import Supplement


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """One such run; `give` opens it for what our run brings."""

    path: str
    group: str | None
    is_over: bool
    give: Callable[[Run, Collection[str]], Finished | Supplement]


def named(core: Core, place: Place, path: str) -> Foreign:
    """The run of a path; offline its id is enough.

    Raises:
        TargetGoneError: there is none, or `wandb sync` has taken it elsewhere.
    """
    return _on_server(core, path) if place.mode == ONLINE else _on_disk(place.directory, path.rpartition("/")[2])


def adopted(core: Core, place: Place, run: Run) -> Foreign | None:
    """The one run that an audit belongs to, where its journal is no record of a training.

    Raises:
        TargetGoneError: several could be meant, or one that is not on the server yet.
    """
    if origin.trains(run):
        return None
    if place.mode == ONLINE and (path := _adopted_online(core, place, run)) is not None:
        return named(core, place, path)
    found = adoption.offline(place.directory, run)
    if found is not None and place.mode == ONLINE:
        raise TargetGoneError(
            f"W&B run {found} was recorded offline and is not on the server: `wandb sync` uploads it; or deliver with "
            "WANDB_MODE=offline."
        )
    return named(core, place, found) if found is not None else None


def _adopted_online(core: Core, place: Place, run: Run) -> str | None:
    wanted = place.project_for(run.meta.get("experiment"))
    projects = dict.fromkeys([wanted, *([] if place.project else [adoption.TRAINERS])])
    entity = place.entity or core.default_entity()
    return adoption.online(core.api(), [f"{entity}/{project}" for project in projects], run)


def _on_server(core: Core, path: str) -> Foreign:
    def look() -> Any:
        api: Any = core.api()
        api.flush()  # it keeps what it has read once
        try:
            return api.run(path)
        except ValueError:
            raise TargetGoneError(f"W&B has no run {path}: name another with --run.") from None

    found = look()
    return Foreign(
        path="/".join(found.path),
        group=found.group or None,
        is_over=known(found).is_over,
        give=lambda run, kinds: Finished(core, look, run, kinds),
    )


def _on_disk(directory: Path, run_id: str) -> Foreign:
    parts = recorded.folders(directory, run_id)
    whole = recorded.whole(parts)
    if whole is None:
        raise TargetGoneError(f"There is no W&B run {run_id} in {directory}: name another with --run.")
    if synced := next((folder for folder in parts if any(folder.glob("*.synced"))), None):
        raise TargetGoneError(
            f"W&B run {run_id} was uploaded from {synced}: deliver to it online, without WANDB_MODE=offline."
        )
    return Foreign(
        path="/".join(part for part in (whole.run.entity, whole.run.project, run_id) if part),
        group=whole.run.run_group or None,
        is_over=whole.exit is not None,
        give=lambda run, kinds: Supplement(parts, run, kinds),
    )
