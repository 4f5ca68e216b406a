"""How a recorder reaches the trackers that its run is mirrored to: the one way up from here, taken lazily.

Recording never waits for a mirror: it reads the telemetry file by itself.
"""

import os
from pathlib import Path
from typing import Any, Final, Protocol

SINKS_VARIABLE: Final = "GRADIENCE_SINKS"  # the path of a YAML file, or names with commas between them


class Mirror(Protocol):
    """The trackers of one recorder. No method raises."""

    def begin(self, run_id: str) -> None:
        """The first event was recorded, by the thread that calls: start to deliver."""

    def close(self, *, replaced: bool = False) -> None:
        """Nothing more is recorded: wait for delivery within the time that was given, and say what is behind.

        A recorder that another one in this process replaces leaves delivery to that one, and does not wait.
        """


def mirror(path: Path, sinks: Any, host: str, state_dir: Path | None, timeout_s: float) -> Mirror | None:
    """The mirror of a telemetry file, None without sinks; nothing is started yet.

    `sinks` of None are those that the environment names, in `GRADIENCE_SINKS`.

    Raises:
        GradienceError: A sink is not installed, does not take an option, or cannot be hosted here.
        TypeError, ValueError: An argument makes no sense.
    """
    if not (os.environ.get(SINKS_VARIABLE) if sinks is None else sinks):
        return None
    from gradience.mirror.live.recording import LiveMirror

    return LiveMirror(path, sinks, host, state_dir, timeout_s)
