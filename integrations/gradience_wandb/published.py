"""The audit that a run holds already, for advice that comes in a later process than its audit.

One that is not there or cannot be read costs the files of that advice, never its numbers and tags.
"""

import logging
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gradience.mirror import audits
from gradience.mirror.audits import Audit
from gradience_wandb.faults import plain

log = logging.getLogger("gradience.wandb")


def fetched(files: Callable[[], Iterable[Any]]) -> list[Audit]:
    """The audits in files of the public API, which fetches them through the core: its limits hold here, too."""
    try:
        with tempfile.TemporaryDirectory(prefix="gradience-") as place:
            return [_fetched(file, place) for file in files() if file.size]
    except Exception as unreadable:  # noqa: BLE001  # whatever it is, the rest of the batch meets it as well
        return _nothing(unreadable)


def kept(paths: Iterable[Path]) -> list[Audit]:
    """The audits in files on this disk, oldest first."""
    try:
        return [audits.read(path.read_bytes()) for path in paths if path.exists()]
    except Exception as unreadable:  # noqa: BLE001  # it may be anybody's file
        return _nothing(unreadable)


def _fetched(file: Any, place: str) -> Audit:
    file.download(root=place).close()
    return audits.read(Path(place, file.name).read_bytes())


def _nothing(why: Exception) -> list[Audit]:
    log.debug("no audit to read back: %s", plain(why))
    return []
