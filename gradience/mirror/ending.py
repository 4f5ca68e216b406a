"""The end of a run whose recorder was killed: nobody wrote `run_end`, so the tracker is told."""

import logging
from pathlib import Path

from gradience.errors import UnavailableError
from gradience.mirror import reason
from gradience.mirror.cursor import CursorFile
from gradience.mirror.pace import Endurance, Pace
from gradience.mirror.sink import Run, Sink
from gradience.vnext import runs
from gradience.vnext.types import RunStatus

log = logging.getLogger("gradience.mirror")

CLOSE_S = 10.0  # for a sink to let go when everything is said


def fail(journal: Path, sink: Sink, store: CursorFile, pace: Pace) -> bool:
    """End the tracked run of the journal's last run as failed, as soon as the tracker can be told; False if it was not.

    A sink leaves runs alone that it did not make. A run that is resumed later is running again.
    """
    run = _last(journal, store)
    endurance = Endurance(pace, sink.name)
    while run is not None and (why := attempt(sink, run)) is not None:
        if not endurance.failed(why):
            return False
    return True


def attempt(sink: Sink, run: Run) -> str | None:
    """End a tracked run as failed: why that is worth another attempt, None when it was the last."""
    try:
        sink.open(run)
        sink.close(RunStatus.ERROR, CLOSE_S)
    except UnavailableError as error:
        return reason.of(error)
    except Exception as error:  # noqa: BLE001 - a sink is foreign code; the lines are delivered whatever it raises
        log.error("%s: cannot end the tracked run as failed: %s", sink.name, reason.of(error))  # noqa: TRY400
    return None


def let_go(sink: Sink) -> None:
    """Close a sink of which nothing more is wanted."""
    try:
        sink.close(None, CLOSE_S)
    except Exception as error:  # noqa: BLE001 - a sink is foreign code, and what it had to deliver is delivered
        log.warning("%s: not closed in order: %s", sink.name, reason.of(error))


def _last(journal: Path, store: CursorFile) -> Run | None:
    """The run that started last, if it is tracked."""
    last, cursor = runs.last(journal), store.load()
    mark = cursor.runs.get(last.run_id) if last and cursor else None
    if last is None or cursor is None or mark is None or mark.tracked is None:
        return None
    return store.run(cursor, last.run_id)
