"""A run of somebody else's, recognised by what its own tracker logged: our run_id, or the output directory.

The Trainer's own callback logs `output_dir` as config. One run that fits is adopted; several are listed, never guessed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from gradience.errors import TargetGoneError
from gradience.mirror import origin
from gradience.mirror.sink import Run
from gradience_wandb import guest, recorded
from gradience_wandb.known import ROOT, Known

TRAINERS: Final = "huggingface"  # where the Trainer's callback puts a run that nobody put anywhere
_KEY: Final = "output_dir"
_MOST: Final = 200  # runs of one project that are looked at
_SHOWN: Final = 5  # candidates in a message
_SPECIAL: Final = re.compile(r"([.^$*+?()\[\]{}|\\])")


def online(api: Any, projects: Iterable[str], run: Run) -> str | None:
    """The path of the run that is meant in one of the projects; None where none is.

    Raises:
        TargetGoneError: several could be.
    """
    found = [one for project in projects for one in _asked(api, project, run)]
    ours = [one for one in found if _knows(one.config, run)]
    fitting = ours or [one for one in found if _fits(one.config, run, is_own=_is_own(api, one))]
    return _only({"/".join(one.path): one.name for one in fitting}, run)


def offline(directory: Path, run: Run) -> str | None:
    """The id of the run that is meant among those that were recorded offline; None where none is.

    Raises:
        TargetGoneError: several could be.
    """
    found = [one for one in map(recorded.look, recorded.folders(directory)) if one is not None]
    ours = [one for one in found if _knows(one.config, run)]
    fitting = ours or [one for one in found if _fits(one.config, run, is_own=True)]
    return _only({one.id: one.run.display_name for one in fitting}, run)


def _only(fitting: Mapping[str, str | None], run: Run) -> str | None:
    if len(fitting) > 1:
        names = ", ".join(f"{path} ({name or 'unnamed'})" for path, name in islice(fitting.items(), _SHOWN))
        where = origin.directories(run)[0]
        raise TargetGoneError(f"name the right run with --run: {len(fitting)} in W&B logged {_KEY} {where}: {names}.")
    return next(iter(fitting), None)


def _asked(api: Any, project: str, run: Run) -> Iterator[Any]:
    """The runs that may be meant, as the server sorts them out; a project that is not there has none."""
    names = dict.fromkeys(_SPECIAL.sub(r"\\\1", where.name) for where in origin.directories(run) if where.name)
    logged = {"$regex": "|".join(names)}
    # A config's values lie one level down in W&B; its filters take the path with that level, or without it.
    wanted: list[dict[str, Any]] = [{"config.output_dir.value": logged}, {"config.output_dir": logged}]
    wanted += [{f"config.{ROOT}.value.run_id": run.run_id}, {f"config.{ROOT}.run_id": run.run_id}]
    try:
        yield from islice(api.runs(project, filters={"$or": wanted}, lazy=False), _MOST)
    except ValueError:
        return


def _knows(config: Mapping[str, Any], run: Run) -> bool:
    """Whether lines of our run went there before; a run of our own is found by its id."""
    ours = config.get(ROOT)
    if not isinstance(ours, Mapping) or ours.get("created_by") == ROOT:
        return False
    return guest.position(Known(config=dict(config)), run.run_id) is not None or ours.get("run_id") == run.run_id


def _fits(config: Mapping[str, Any], run: Run, *, is_own: bool) -> bool:
    """Whether a logged directory is ours; a relative one is read from here, and only if it is our own user's."""
    logged = config.get(_KEY)
    if not isinstance(logged, str) or not logged or not (Path(logged).is_absolute() or is_own):
        return False
    return Path(logged).resolve() in origin.directories(run)


def _is_own(api: Any, found: Any) -> bool:
    user = getattr(found, "user", None)
    return user is not None and user.username == api.viewer.username
