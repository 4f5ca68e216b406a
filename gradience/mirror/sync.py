"""Catch a tracker up with a journal: one drain under the cursor's lock, so that two drainers never work at once."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from gradience.errors import SinkError, TargetGoneError, TelemetryError
from gradience.mirror import memory, reason, turn
from gradience.mirror.cursor import Cursor, CursorFile, Delivery, cursors, lock_name
from gradience.mirror.drain import Outcome, drain
from gradience.mirror.ending import let_go
from gradience.mirror.groups import parse
from gradience.mirror.pace import Endurance, Pace, Tempo
from gradience.mirror.sink import Sink
from gradience.vnext import journal, lock

log = logging.getLogger("gradience.mirror")

PATIENCE_S = 30.0  # without any progress: a restart of a tracker's server is waited out, an outage is not
LOOK_S = 0.2  # between two looks at a cursor that another process moves


def sync(
    path: Path,
    sink: Sink,
    *,
    tempo: Tempo = Tempo(),  # noqa: B008 - a frozen record
    deadline_s: float | None = None,
    patience_s: float | None = PATIENCE_S,
    from_start: bool = False,
    state_dir: Path | None = None,
    confirm: bool = True,
    progress: Callable[[int], object] = lambda _line: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Deliver the lines that a journal has now, and let the sink go.

    `deadline_s` bounds all of it, `patience_s` the time without progress. While another process delivers to the same
    target, it is waited for: until it has passed the lines that are there now, or, for `from_start`, has ended. Where
    nobody named a store, that of earlier deliveries is taken. With nothing to send, `confirm` asks the tracker whether
    the run is still there. `stop` ends it between two attempts.

    Raises:
        GradienceError: as `drain` raises; the file is no telemetry; or no folder for the cursor can be written.
    """
    check(path)
    sink = memory.recall(path, sink, state_dir)
    store = CursorFile(path, sink.name, sink.target, state_dir)
    bounds = msgspec.structs.asdict(tempo)
    pace = Pace(**bounds, deadline_s=deadline_s, patience_s=patience_s, stop=stop, to_now=True)
    began = pace.clock()
    queue = _Queue(path, store, state_dir, pace, from_start, progress)
    try:
        while True:
            with ExitStack() as stack:
                if turn.take(store, stack):
                    left = None if deadline_s is None else max(0.0, began + deadline_s - pace.clock())
                    pace = msgspec.structs.replace(pace, deadline_s=left)
                    outcome = drain(path, sink, store, pace, from_start=from_start, progress=progress)
                    return _confirmed(outcome, sink, store) if confirm and not outcome.sent else outcome
            if (passed := queue.look()) is not None:
                return passed
            time.sleep(LOOK_S)
    finally:
        let_go(sink)


def check(path: Path) -> None:
    """Refuse a file of something else, before anything is kept beside it.

    Raises:
        TelemetryError: it is no journal, or cannot be read.
    """
    line = None
    for line in journal.read(path):
        if parse(line):
            return
    if line is not None:
        raise TelemetryError(f"cannot deliver {path}: it is not a telemetry file; name the .jsonl of a run")


def _confirmed(outcome: Outcome, sink: Sink, store: CursorFile) -> Outcome:
    """The outcome of a drain that sent nothing, once the tracker has shown that the last run is still there.

    An outage takes nothing away from what was delivered.
    """
    cursor = store.load()
    runs = [(id_, mark) for id_, mark in cursor.runs.items() if mark.tracked] if cursor else []
    if cursor is None or not runs or outcome.state is not Delivery.UP_TO_DATE:
        return outcome
    run_id, _mark = max(runs, key=lambda item: item[1].started)
    try:
        sink.open(store.run(cursor, run_id))
    except TargetGoneError as gone:
        return msgspec.structs.replace(outcome, state=Delivery.PARKED, behind=outcome.line, error=reason.of(gone))
    except SinkError as error:
        log.debug("%s: not asked whether its runs are still there: %s", sink.name, reason.of(error))
    return outcome


class _Queue:
    """Behind another drainer of the same tracker: its cursor tells when our lines have passed too."""

    def __init__(
        self,
        path: Path,
        store: CursorFile,
        state_dir: Path | None,
        pace: Pace,
        from_start: bool,
        progress: Callable[[int], object],
    ) -> None:
        self._path = path
        self._store = store
        self._state_dir = state_dir
        self._endurance = Endurance(pace, store.path.stem)
        self._lines: int | None = None
        self._seen = 0
        self._until_free = from_start
        self._progress = progress

    def look(self) -> Outcome | None:
        """What there is to report; None while it is worth waiting."""
        if self._lines is None:
            self._lines = sum(1 for _ in journal.read(self._path))
        cursor = self._furthest()
        line = cursor.line if cursor else 0
        if line > self._seen:
            self._seen = line
            self._endurance.progressed()
            self._progress(line)
        done = line >= self._lines and not self._until_free
        if not done and not self._endurance.is_over():
            return None
        return Outcome(
            state=Delivery.UP_TO_DATE if done else Delivery.BEHIND,
            line=line,
            behind=max(0, self._lines - line),
            error=None if done else f"{lock.holder(self._store.lock) or 'another process'} is delivering",
            runs=cursor.tracked if cursor else {},
        )

    def _furthest(self) -> Cursor | None:
        """Of the cursors of this tracker: a run_id is one tracked run there, whichever of them leads to it."""
        turn = self._store.lock.name
        found = [one for _, one in cursors(self._path, self._state_dir) if lock_name(one.sink, one.target) == turn]
        return max(found, key=lambda one: one.line, default=None)
