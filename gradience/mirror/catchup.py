"""The command that catches a tracker up by hand."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradience.mirror import reason


def command(journal: Path, sink: str, options: Mapping[str, Any], state_dir: Path | None = None) -> str:
    """What to type; credentials in options are masked."""
    flags = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", reason.safe(str(value)))]
    state = ["--state-dir", str(state_dir)] if state_dir is not None else []
    return shlex.join(["gradience", "sync", str(journal), "--to", sink, *flags, *state])
