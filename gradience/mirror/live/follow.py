"""A live drain: the same loop as `sync`, for as long as its recorder is at work, and for a bounded time after that."""

import logging
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import msgspec

from gradience.errors import ChangedError, GradienceError, ReplacedError, TelemetryError
from gradience.mirror import reason, turn
from gradience.mirror.cursor import Cursor, CursorFile, Delivery
from gradience.mirror.drain import drain
from gradience.mirror.ending import fail, let_go
from gradience.mirror.live.presence import Presence
from gradience.mirror.live.spec import Spec
from gradience.mirror.live.vigil import Vigil
from gradience.mirror.sink import Sink
from gradience.mirror.tail import Tail

log = logging.getLogger("gradience.mirror")

_STOPPED: Final = "%s: delivery stopped until this is mended: %s"


def follow(spec: Spec, sink: Sink, store: CursorFile, vigil: Vigil) -> Delivery:
    """Deliver what is recorded until nothing more can come; how the target stands then.

    A run whose recorder was killed ends as failed. While another process delivers to the same target, it is waited
    for. What only a person can mend is left in the cursor.
    """
    with ExitStack() as stack:
        while not turn.take(store, stack):
            if vigil.told or vigil.stop():
                return Delivery.BEHIND
            vigil.sleep(spec.terms.poll_s)
        stack.callback(let_go, sink)
        while (state := _attempt(spec, sink, store, vigil)) is None:
            vigil.sleep(spec.terms.poll_s)
        return state


def note(spec: Spec, sink: Sink, store: CursorFile, state: Delivery, error: str, *, replaced: bool = False) -> None:
    """Leave word in the cursor, for whoever watches it; where that cannot be, the log has it."""
    with suppress(OSError, TelemetryError):
        cursor = store.load() or _fresh(spec, sink)
        noted = msgspec.structs.replace(cursor, state=state, error=error, replaced=replaced, updated=time.time())
        store.save(noted)


def _attempt(spec: Spec, sink: Sink, store: CursorFile, vigil: Vigil) -> Delivery | None:
    """How the target stands after a drain; None while the journal is missing or another one, and may come back."""
    try:
        return _deliver(spec, sink, store, vigil)
    except GradienceError as error:
        if _may_come_back(spec.path, error, vigil):
            return None
        note(spec, sink, store, Delivery.PARKED, reason.of(error), replaced=isinstance(error, ReplacedError))
        log.error(_STOPPED, sink.name, reason.of(error))  # noqa: TRY400 - it says what to do; a trace would hide that
        return Delivery.PARKED


def _deliver(spec: Spec, sink: Sink, store: CursorFile, vigil: Vigil) -> Delivery:
    outcome = drain(spec.path, sink, store, vigil.pace, progress=lambda _line: vigil.progressed())
    if outcome.state is Delivery.PARKED:
        log.error(_STOPPED, sink.name, outcome.error)
    done = outcome.state is Delivery.UP_TO_DATE and not vigil.stop()
    if done and vigil.look() is Presence.GONE and not vigil.is_ended():
        fail(spec.path, sink, store, vigil.pace)
    return outcome.state


def _may_come_back(path: Path, error: GradienceError, vigil: Vigil) -> bool:
    """Whether only the recorder's next line is wanting, which puts a deleted file back and completes an older copy."""
    if not isinstance(error, TelemetryError):
        return False
    is_missing = isinstance(error.__context__, FileNotFoundError) or not path.exists()  # it may be back by now
    return (is_missing or isinstance(error, ChangedError)) and vigil.awaits_mending(for_ever=is_missing)


def _fresh(spec: Spec, sink: Sink) -> Cursor:
    """The cursor of a target that has nothing yet."""
    fingerprint = Tail(spec.path).fingerprint
    return Cursor(journal=spec.journal, sink=sink.name, target=sink.target, fingerprint=fingerprint)
