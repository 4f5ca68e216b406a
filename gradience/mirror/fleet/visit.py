"""One visit to a journal in passing: deliver what is there, unless another process is at it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from gradience.mirror import memory, turn
from gradience.mirror.cursor import CursorFile, Delivery
from gradience.mirror.drain import Outcome, drain
from gradience.mirror.ending import fail, let_go
from gradience.mirror.fleet import abandonment
from gradience.mirror.pace import Pace, Tempo
from gradience.mirror.sink import Sink


def visit(
    path: Path,
    sink: Sink,
    pace: Pace,
    *,
    abandoned: bool = False,
    state_dir: Path | None = None,
    progress: Callable[[int], object] = lambda _line: None,
) -> Outcome | None:
    """Deliver a journal's lines and let the sink go; None while another process delivers to the same target.

    Where nobody named a store, that of earlier deliveries is taken.
    With `abandoned`, a run that nobody records any more and that came to no end is ended as failed.

    Raises:
        GradienceError: as `drain` raises, or no folder for the cursor can be written.
    """
    sink = memory.recall(path, sink, state_dir)
    store = CursorFile(path, sink.name, sink.target, state_dir)
    with ExitStack() as stack:
        if not turn.take(store, stack):
            return None
        stack.callback(let_go, sink)
        outcome = drain(path, sink, store, pace, progress=progress)
        is_whole = outcome.state is Delivery.UP_TO_DATE and not outcome.behind
        needs_end = abandoned and is_whole and abandonment.is_unended(path, state_dir)
        if needs_end and not fail(path, sink, store, pace):
            why = "a run that was killed is still to be ended as failed"
            return msgspec.structs.replace(outcome, state=Delivery.UNAVAILABLE, error=why)
        return outcome


def pace(
    tempo: Tempo,
    *,
    deadline_s: float | None,
    patience_s: float | None,
    stop: Callable[[], bool],
    linger: Callable[[], bool],
    to_now: bool,
) -> Pace:
    """The pace of a visit: it may be told to stop, to wait for more at the end of the file, or to leave what is new."""
    bounds = msgspec.structs.asdict(tempo)
    return Pace(
        **bounds,
        deadline_s=deadline_s,
        patience_s=patience_s,
        stop=stop,
        follow=linger,
        to_now=to_now,
        sleep=time.sleep,
    )
