"""The loop of `--follow`: what is written is read, and shown, until the run ends."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final, Protocol

from gradience.cli.abandoned import is_abandoned
from gradience.cli.live.feed import Feed
from gradience.cli.live.picture import Live
from gradience.cli.recorded import Asked
from gradience.errors import GradienceError
from gradience.mirror.fleet import standing
from gradience.mirror.fleet.standing import Standing
from gradience.vnext.types import Eval

POLL_S: Final = 0.5
SINKS_S: Final = 5.0  # between two looks at how far the trackers are


class Screen(AbstractContextManager["Screen"], Protocol):
    """Where a live run is shown, while it is entered."""

    def show(self, live: Live, evals: Sequence[str]) -> None:
        """Show how it stands now; `evals` are the splits that were evaluated since it was last shown."""


def watch(path: Path, asked: Asked, screen: Screen, encoding: str | None = "utf-8") -> None:
    """Show a run until it ends; for ever, where it never does.

    Raises:
        TelemetryError: The file cannot be read, or is no telemetry.
    """
    feed, sinks = Feed(path, asked), _Sinks(path)
    with screen:
        while True:
            records = feed.look()
            evaluated = (one.event for one in records if one.event.run_id == feed.run_id)
            evals = list(dict.fromkeys(event.split for event in evaluated if isinstance(event, Eval)))
            is_over = feed.is_ended()
            screen.show(_live(feed, sinks, encoding), evals)
            if is_over:
                return
            if not records:
                time.sleep(POLL_S)


def _live(feed: Feed, sinks: "_Sinks", encoding: str | None) -> Live:
    seen = feed.seen()
    return Live(
        file=str(feed.path),
        seen=seen,
        curves=feed.replay.course.curves(),
        marks=feed.replay.marks,
        standings=sinks.look() if feed.is_there else (),
        steps_per_s=feed.pace.steps_per_s,
        left_s=None if seen.ended else feed.pace.left_s(seen.config.training.max_steps if seen.config else None),
        silent_s=feed.silent_s,
        gap_s=feed.pace.gap_s,
        is_there=feed.is_there,
        is_caught_up=feed.is_caught_up,
        is_abandoned=feed.is_there and not seen.ended and is_abandoned(feed.path),
        replaced=feed.replaced,
        encoding=encoding,
    )


class _Sinks:
    """How far the trackers are, as the state folder tells, looked up now and then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked: float | None = None
        self._found: list[Standing] = []

    def look(self) -> list[Standing]:
        """What was last found out."""
        now = time.monotonic()
        if self._looked is None or now - self._looked >= SINKS_S:
            self._looked = now
            with suppress(GradienceError, OSError):
                self._found = standing.standings(self._path)
        return self._found
