"""Files that are their owner's alone, whatever the umask: they may tell of addresses, paths and what failed.

The journal itself is no such file. A team reads it, so its mode is left to the umask.
"""

import builtins
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, cast

FILE: Final = 0o600
FOLDER: Final = 0o700


def open(path: Path, mode: str) -> BinaryIO:  # noqa: A001 - the call site reads `private.open`
    """Open a file for writing; one of an earlier version that others could read is closed to them.

    Raises:
        OSError: it cannot be opened.
    """
    return cast("BinaryIO", builtins.open(path, mode, opener=_opener))


def _opener(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, FILE)
    with suppress(OSError, AttributeError):  # somebody else's file that we may write; Windows has no modes
        os.fchmod(descriptor, FILE)
    return descriptor
