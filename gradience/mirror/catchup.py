"""The command that catches a tracker up by hand."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gradience.mirror import reason

_USER_INFO: Final = re.compile(r"(?<=://)[^/\s?#]+@")


def command(
    journal: Path, sink: str, options: Mapping[str, Any], state_dir: Path | None = None, *, from_start: bool = False
) -> str:
    """What to type. Credentials are left out: trackers take them from the environment or a file of their own, too."""
    flags = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", _open(str(value)))]
    state = ["--state-dir", str(state_dir)] if state_dir is not None else []
    anew = ["--from-start"] if from_start else []
    return shlex.join(["gradience", "sync", str(journal), "--to", sink, *flags, *state, *anew])


def _open(value: str) -> str:
    """An option as it may be shown: an address without its user is still an address; other secrets are masked."""
    return reason.safe(_USER_INFO.sub("", value))
