"""Where things are kept that can be made again: everything below may be deleted at any time."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

VARIABLE: Final = "GRADIENCE_CACHE_DIR"


def folder() -> Path:
    """The directory that `GRADIENCE_CACHE_DIR` names, else `gradience` in the XDG cache folder; not made here."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradience"


def keep(path: Path, content: bytes) -> None:
    """Write a file and the folders that it lies in: a reader meets the old file or the new one, whole.

    Nothing is synced: what a power cut leaves of a file is found to be damaged, and made again.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
