"""Where what belongs to a telemetry file, but is not telemetry, is kept: locks, cursors, logs."""

import hashlib
import os
from pathlib import Path
from typing import Final

from gradience.errors import TelemetryError
from gradience.vnext import private

RECORDER_LOCK: Final = "recorder.lock"
LONGEST: Final = 200  # bytes of a file's name in its folder's: disks take 255
SUFFIX: Final = ".gradience"  # of the folder beside a file


def folder(path: str | Path, state_dir: str | Path | None = None) -> Path:
    """The state folder of a telemetry file, made for its owner alone if it is missing.

    It is `<file>.gradience/` beside the file; or, where a state directory is given or nothing can be written beside
    the file, a folder of its own in that directory or in the XDG state home. Every name of a file leads to one folder.

    Raises:
        TelemetryError: None of these can be written.
    """
    choices = places(path, state_dir)
    for choice in choices:
        if _is_writable(choice):
            return choice
    raise TelemetryError(
        f"cannot keep state for {path}: no folder can be written at {' or '.join(map(str, choices))}; name one"
    )


def places(path: str | Path, state_dir: str | Path | None = None) -> list[Path]:
    """Where the state folder of a telemetry file may be, the preferred place first; nothing is made."""
    place = Path(path).resolve()
    own = f"{_short(place.name)}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}"
    if state_dir is not None:
        return [Path(state_dir).expanduser() / own]
    beside = [place.with_name(f"{place.name}{SUFFIX}")] if _is_ordinary(place) else []
    return [*beside, _state_home() / own]


def _short(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[-LONGEST:])


def _is_ordinary(place: Path) -> bool:
    """Whether a folder beside the file makes sense: not for a device or a pipe."""
    return place.is_file() or not place.exists()


def _state_home() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "gradience"


def _is_writable(choice: Path) -> bool:
    try:
        choice.mkdir(private.FOLDER, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(choice, os.W_OK)
