"""Where a run comes from: interpreter, libraries and commit, for the `meta` of its first event."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

_LIBRARIES: Final = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "lightning",
    "pytorch_lightning",
    "bitsandbytes",
    "datasets",
    "deepspeed",
    "unsloth",
    "axolotl",
    "llamafactory",
)
_GIT_S: Final = 3.0  # a working tree on a slow drive is not waited for


def meta() -> dict[str, Any]:
    """Versions of Python, of Gradience and of the known libraries that are loaded; the commit, where there is one."""
    loaded = [name for name in _LIBRARIES if name in sys.modules]
    versions = {name: version for name in ("gradience", *loaded) if (version := _version(name)) is not None}
    found = {"python": platform.python_version(), "platform": platform.platform(), "versions": versions}
    commit = git_commit(Path.cwd())
    return found if commit is None else {**found, "git_commit": commit}


def git_commit(folder: Path) -> str | None:
    """The commit of the working tree around a folder, with `-dirty` where it was changed; None outside of one."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
