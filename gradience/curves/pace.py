"""How fast a run goes, and when it will be done: from the times that its own events carry."""

from collections import deque
from typing import Final

import msgspec

WINDOW: Final = 64  # sightings: as many blocks of a file that is read through, a minute of one that is watched


class Sighting(msgspec.Struct, frozen=True):
    """A step, and when it was taken, in Unix seconds."""

    step: int
    ts: float


class Pace:
    """Steps per second over the last sightings; a step that goes back begins anew, as a resume does."""

    def __init__(self) -> None:
        self._seen: deque[Sighting] = deque(maxlen=WINDOW)

    def see(self, step: int, ts: float) -> None:
        """Take where the run stands."""
        if self._seen and (step < self._seen[-1].step or ts < self._seen[-1].ts):
            self._seen.clear()
        if not self._seen or step > self._seen[-1].step:
            self._seen.append(Sighting(step, ts))

    @property
    def steps_per_s(self) -> float | None:
        """None while too little was seen."""
        if len(self._seen) < 2:
            return None
        first, last = self._seen[0], self._seen[-1]
        return (last.step - first.step) / (last.ts - first.ts) if last.ts > first.ts else None

    @property
    def gap_s(self) -> float:
        """Seconds between two sightings; 0 while there was only one."""
        return (self._seen[-1].ts - self._seen[0].ts) / (len(self._seen) - 1) if len(self._seen) > 1 else 0.0

    def left_s(self, planned: int | None) -> float | None:
        """Seconds until the planned steps are done."""
        speed = self.steps_per_s
        if planned is None or planned <= 0 or not speed or not self._seen:
            return None
        return max(0.0, (planned - self._seen[-1].step) / speed)
