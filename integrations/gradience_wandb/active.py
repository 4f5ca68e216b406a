"""The run that `wandb.init` has live in this process; found without importing wandb, which a training may never do."""

import sys
from typing import Any


def run() -> Any | None:
    """The live run, which is somebody else's; None where there is none, or W&B is disabled."""
    live = getattr(sys.modules.get("wandb"), "run", None)
    return None if live is None or getattr(live, "disabled", True) else live


def path(live: Any) -> str:
    """How W&B calls it; offline by its id alone, since nobody knows its entity there."""
    return str(live.id) if live.offline else "/".join((live.entity, live.project, live.id))


def is_meant(live: Any, named: str | None) -> bool:
    """Whether a run is the live one, by its path or its id; also where none is named."""
    if named is None or live.offline:
        return named is None or named.rpartition("/")[2] == live.id
    return f"/{path(live)}".endswith(f"/{named}")


def is_in(live: Any, project: str | None, entity: str | None) -> bool:
    """Whether a project that was named is that of the live run; offline nobody knows its entity."""
    return project in (None, live.project) and (not live.entity or entity in (None, live.entity))


def mode() -> str | None:
    """The mode of the live run, which may be set in its code alone; None where none is live."""
    live = run()
    return None if live is None else "offline" if live.offline else "online"


def options() -> dict[str, str]:
    """The options that put a run of ours beside it, from another process: it is never resumed, since rows get lost."""
    live = run()
    if live is None:
        return {}
    told = {"project": live.project, "entity": live.entity, "group": live.group, "beside": path(live), "mode": mode()}
    return {key: value for key, value in told.items() if value}
