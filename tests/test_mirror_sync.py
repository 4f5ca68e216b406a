import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gradience.errors import SinkError, TargetGoneError, TelemetryError, UnavailableError
from gradience.mirror.cursor import Cursor, CursorFile, Delivery, Mark
from gradience.mirror.pace import BATCH_LINES, Tempo
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.mirror.sync import sync
from gradience.mirror.tail import Tail
from gradience.mirror.watchdog import Watchdog
from gradience.testing import Fault, MemorySink, MemoryTracker, samples
from gradience.vnext import lock
from gradience.vnext.types import RunStatus


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return samples.write(tmp_path / "run.jsonl", samples.steps("r", 1, 5))


@pytest.fixture
def store(journal: Path) -> CursorFile:
    return CursorFile(journal, "memory", "memory:")


@contextlib.contextmanager
def held(store: CursorFile) -> Iterator[lock.Lock]:
    """Another drainer holds the cursor."""
    one = lock.acquire(store.lock)
    try:
        yield one
    finally:
        one.release()


def move(store: CursorFile, journal: Path, lines: int) -> None:
    """The other drainer has passed some lines."""
    tail = Tail(journal)
    tail.advance(tail.read(lines))
    cursor = Cursor(journal=str(journal), sink="memory", target="memory:", runs={"r": Mark(started=1.0, tracked="t")})
    place = {"offset": tail.offset, "line": tail.line, "fingerprint": tail.fingerprint}
    store.save(msgspec.structs.replace(cursor, **place))


class Closing(MemorySink):
    """Remembers how it was closed."""

    def __init__(self, tracker: MemoryTracker | None = None) -> None:
        super().__init__(tracker)
        self.closed: list[RunStatus | None] = []

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """Let go, and note it."""
        super().close(status, timeout_s)
        self.closed.append(status)


def test_sync_delivers_and_lets_the_sink_go(journal: Path, store: CursorFile) -> None:
    """The tracked run's status is not touched by a sink that only catches up; the lock is free again."""
    sink = Closing()
    assert sync(journal, sink).sent == 5
    assert sink.closed == [None]
    assert lock.holder(store.lock) is None


def test_a_journal_that_grows_faster_than_it_is_delivered_is_delivered_up_to_now(journal: Path) -> None:
    """Else nobody would get out of it before the training ends; the rest waits for the next time."""

    class Slow(MemorySink):
        def deliver(self, batch: Batch) -> None:
            super().deliver(batch)
            step = batch.records[-1].event.step or 0
            samples.write(journal, samples.steps("r", step + 1, step + 2))

    outcome = sync(journal, Slow(), tempo=Tempo(batch_lines=2))
    assert (outcome.state, outcome.sent, outcome.behind > 0) == (Delivery.UP_TO_DATE, 6, True)


def test_a_missing_journal_leaves_no_trace(tmp_path: Path) -> None:
    """A mistyped name makes no state folder."""
    with pytest.raises(TelemetryError):
        sync(tmp_path / "no.jsonl", MemorySink())
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Nothing is kept beside a file that was named by mistake; an empty one has only nothing to say yet."""
    notes = samples.write(tmp_path / "notes.md", [b"# Notes\n", b"\n"])
    with pytest.raises(TelemetryError, match="it is not a telemetry file"):
        sync(notes, MemorySink())
    assert list(tmp_path.iterdir()) == [notes]
    assert sync(samples.write(tmp_path / "new.jsonl", []), MemorySink()).state is Delivery.UP_TO_DATE


def test_the_sink_is_let_go_after_an_error(journal: Path) -> None:
    """A file that was replaced ends the drain, not the good manners."""
    tracker = MemoryTracker()
    sync(journal, MemorySink(tracker))
    journal.write_bytes(b"")
    sink = Closing(tracker)
    with pytest.raises(TelemetryError):
        sync(journal, sink)
    assert sink.closed == [None]


def test_an_outage_ends_at_the_deadline(journal: Path) -> None:
    """Behind, with the reason, within the time that was given."""
    began = time.monotonic()
    outcome = sync(journal, MemorySink(MemoryTracker([Fault.REFUSED] * 50)), deadline_s=0.7)
    assert (outcome.state, outcome.behind) == (Delivery.UNAVAILABLE, 5)
    assert time.monotonic() - began < 5


def test_patience_ends_an_outage_without_a_deadline(journal: Path) -> None:
    """A command typed by hand does not wait for ever."""
    outcome = sync(journal, MemorySink(MemoryTracker([Fault.REFUSED] * 50)), patience_s=0.3)
    assert outcome.state is Delivery.UNAVAILABLE


def test_another_drainer_that_has_passed_our_lines_is_enough(journal: Path, store: CursorFile) -> None:
    """Its cursor says that they are there: nothing is left to do, whoever holds the lock."""
    tracker = MemoryTracker()
    with held(store):
        move(store, journal, 5)
        outcome = sync(journal, MemorySink(tracker), deadline_s=5)
    assert (outcome.state, outcome.sent, outcome.runs["r"].id) == (Delivery.UP_TO_DATE, 0, "t")
    assert tracker.calls == 0


def test_another_drainer_is_waited_for(journal: Path, store: CursorFile) -> None:
    """Until it has passed the lines that were there when we came."""
    with held(store):
        mover = threading.Timer(0.5, move, (store, journal, 5))
        mover.start()
        assert sync(journal, MemorySink(), deadline_s=20).state is Delivery.UP_TO_DATE
        mover.join()


def test_another_drainer_that_stands_still_is_waited_for_until_the_deadline(journal: Path, store: CursorFile) -> None:
    """Two drainers never work at once; the outcome says who does."""
    with held(store):
        outcome = sync(journal, MemorySink(), deadline_s=0.3)
    assert (outcome.state, outcome.behind) == (Delivery.BEHIND, 5)
    assert outcome.error is not None
    assert "is delivering" in outcome.error


def test_a_drainer_with_another_experiment_is_waited_for_too(journal: Path) -> None:
    """In one tracker a run_id is one tracked run, whatever experiment was named for new ones."""

    class Elsewhere(MemorySink):
        target = "memory:#b"

    other = CursorFile(journal, "memory", "memory:#a")
    with held(other):
        cursor = Cursor(journal=str(journal), sink="memory", target="memory:#a", line=5)
        threading.Timer(0.3, other.save, [cursor]).start()
        tracker = MemoryTracker()
        outcome = sync(journal, Elsewhere(tracker), deadline_s=20.0)
    assert (outcome.state, outcome.line, tracker.runs) == (Delivery.UP_TO_DATE, 5, {})


def test_another_tracker_is_not_waited_for(journal: Path) -> None:
    """Each has its turn."""
    with held(CursorFile(journal, "memory", "memory-2:#a")):
        assert sync(journal, MemorySink(), deadline_s=5.0).sent == 5


def test_a_drainer_that_ends_leaves_the_rest_to_us(journal: Path, store: CursorFile) -> None:
    """Once the lock is free, the lines it had not passed are delivered here."""
    one = lock.acquire(store.lock)
    timer = threading.Timer(0.4, one.release)
    timer.start()
    assert sync(journal, MemorySink(), deadline_s=20).sent == 5
    timer.join()


def test_from_start_waits_for_the_lock_itself(journal: Path, store: CursorFile) -> None:
    """What another drainer has delivered is not what was asked for."""
    with held(store):
        move(store, journal, 5)
        assert sync(journal, MemorySink(), deadline_s=0.3, from_start=True).state is Delivery.BEHIND


def test_progress_is_told_by_line(journal: Path) -> None:
    """A caller can show how far a long delivery is."""
    lines: list[int] = []
    sync(journal, MemorySink(), progress=lines.append)
    assert lines == [5]


def test_a_long_journal_is_delivered_in_bounded_batches(tmp_path: Path) -> None:
    """Memory holds one batch, whatever the journal's length."""
    sizes: list[int] = []

    class Measuring(MemorySink):
        def deliver(self, batch: Batch) -> None:
            sizes.append(len(batch.records))
            super().deliver(batch)

    sync(samples.write(tmp_path / "long.jsonl", samples.steps("r", 1, BATCH_LINES + 500)), Measuring())
    assert sizes == [BATCH_LINES, 500]


def test_a_watchdog_bites_when_nothing_is_heard() -> None:
    """A call that hangs is ended from outside of it."""
    bitten = threading.Event()
    with Watchdog(0.1, bitten.set):
        assert bitten.wait(5)


def test_a_watchdog_that_is_fed_or_dismissed_keeps_quiet() -> None:
    """Work that moves, and work that is done, are left alone."""
    bitten = threading.Event()
    with Watchdog(0.4, bitten.set) as watchdog:
        for _ in range(6):
            time.sleep(0.1)
            watchdog.feed()
    assert not bitten.wait(0.6)


def test_a_tracked_run_that_is_gone_is_noticed_with_nothing_to_send(journal: Path) -> None:
    """An up-to-date cursor does not prove that the run is still there, nor an outage that it is not."""

    class Emptied(MemorySink):
        error: SinkError | None = None

        def open(self, run: Run) -> Tracked:
            if self.error:
                raise self.error
            return super().open(run)

    sink = Emptied()
    assert sync(journal, sink).state is Delivery.UP_TO_DATE
    sink.error = UnavailableError("nobody answers")
    assert sync(journal, sink).state is Delivery.UP_TO_DATE
    sink.error = TargetGoneError("the run was deleted")
    outcome = sync(journal, sink)
    assert (outcome.state, outcome.behind, outcome.error) == (Delivery.PARKED, 5, "the run was deleted")
