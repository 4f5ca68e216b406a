"""Delivery in this process: for a sink that attaches to something which lives here, so that no other can reach it.

Everything else is delivered by a process of its own (`child`).
"""

import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Final

from gradience.mirror.cursor import Delivery, cursors
from gradience.mirror.drain import Outcome
from gradience.mirror.pace import Tempo
from gradience.mirror.sink import Sink
from gradience.mirror.sync import sync

OVERTIME_S: Final = 10.0  # past the deadline, for a call that is under way


def is_home(sink: Sink, journal: Path, run_id: str) -> bool:
    """Whether what the sink would attach to for this run lives here.

    A run that is tracked already stays where it is.
    """
    lives_here: Callable[[str | None], bool] | None = getattr(sink, "in_process", None)
    if lives_here is None:
        return False
    tracked: set[str | None] = {
        cursor.tracked[run_id].id
        for _place, cursor in cursors(journal)
        if cursor.sink == sink.name and run_id in cursor.tracked
    }
    return any(map(lives_here, tracked or {None}))


def deliver(journal: Path, sink: Sink, deadline_s: float, tempo: Tempo = Tempo()) -> Outcome:  # noqa: B008 - frozen
    """Catch the sink up within a deadline; the work is done in a thread, which is left behind if it hangs.

    Raises:
        GradienceError: as `sync`.
    """
    outcome: futures.Future[Outcome] = futures.Future()

    def work() -> None:
        try:
            outcome.set_result(sync(journal, sink, tempo=tempo, deadline_s=deadline_s))
        except Exception as error:  # noqa: BLE001 - handed to the caller by `result`
            outcome.set_exception(error)

    threading.Thread(target=work, name=f"gradience-{sink.name}", daemon=True).start()
    try:
        return outcome.result(deadline_s + OVERTIME_S)
    except futures.TimeoutError:
        return Outcome(state=Delivery.UNAVAILABLE, error=f"no answer within {deadline_s + OVERTIME_S:.0f} s")
