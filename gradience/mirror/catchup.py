"""The command that catches a tracker up by hand."""

import re
import shlex
from pathlib import Path
from typing import Final

from gradience.mirror import reason
from gradience.mirror.wish import Wish

TYPED: Final = ("tracking_uri", "experiment", "project", "entity", "run")  # options of sinks that `sync` has, too
_USER_INFO: Final = re.compile(r"(?<=://)[^/\s?#]+@")


def command(journal: Path, wish: Wish, state_dir: Path | None = None, *, from_start: bool = False) -> str:
    """What to type.

    Credentials are left out: trackers take them from the environment or a file of their own, too. So are options that
    cannot be typed: a sink that is lost without them says what it needs.
    """
    state = ["--state-dir", str(state_dir)] if state_dir is not None else []
    anew = ["--from-start"] if from_start else []
    return shlex.join(["gradience", "sync", str(journal), *_where(wish), *state, *anew])


def _where(wish: Wish) -> list[str]:
    if wish.source is not None:
        return ["--sinks", wish.source]
    typed = ((f"--{key.replace('_', '-')}", value) for key, value in wish.options.items() if key in TYPED)
    return ["--to", wish.type, *(part for flag, value in typed for part in (flag, _open(str(value))))]


def _open(value: str) -> str:
    """An option as it may be shown: an address without its user is still an address; other secrets are masked."""
    return reason.safe(_USER_INFO.sub("", value))
