"""Where things are kept that can be made again: everything below may be deleted at any time."""

import os
from pathlib import Path
from typing import Final

VARIABLE: Final = "GRADIENCE_CACHE_DIR"


def folder() -> Path:
    """The directory that `GRADIENCE_CACHE_DIR` names, else `gradience` in the XDG cache folder; not made here."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradience"
