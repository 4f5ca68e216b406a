import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from gradience.errors import InputError
from gradience.mirror.cursor import CursorFile, Delivery
from gradience.mirror.live.follow import follow
from gradience.mirror.live.spec import Spec, Terms
from gradience.mirror.live.vigil import Vigil
from gradience.mirror.sink import Run, Tracked
from gradience.mirror.sync import sync
from gradience.mirror.wish import Wish
from gradience.testing import Fault, MemorySink, MemoryTracker, samples
from gradience.vnext import lock, state
from gradience.vnext.types import RunStatus

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
TERMS = Terms(poll_s=0.02, grace_s=0.1, linger_s=1.0, leave_s=1.0, mend_s=1.0)


class Recorder:
    """A journal that this process records, and a drain that follows it in a thread."""

    def __init__(self, folder: Path) -> None:
        self.path = samples.write(folder / "run.jsonl", samples.every_event("r")[:3])
        self.store = CursorFile(self.path, "memory", "memory:")
        self.tracker = MemoryTracker()
        self.states: list[Delivery] = []
        self._lock = lock.acquire(state.folder(self.path) / state.RECORDER_LOCK)
        self.spec = Spec(journal=str(self.path), wish=Wish(type="memory"), recorder=os.getpid(), terms=TERMS)
        self.vigil = Vigil(self.spec)

    def follow(self, sink: MemorySink | None = None) -> Thread:
        """Start the drain."""
        work = lambda: self.states.append(follow(self.spec, sink or MemorySink(self.tracker), self.store, self.vigil))  # noqa: E731
        thread = Thread(target=work)
        thread.start()
        return thread

    def lines(self) -> int:
        """How many lines the tracker holds."""
        return sum(len(run.rows) for run in self.tracker.runs.values())

    def go(self, *last: bytes) -> None:
        """Record the last lines, and be gone."""
        samples.write(self.path, last)
        self.go_without_a_word()

    def go_without_a_word(self) -> None:
        """Be gone."""
        self._lock.release()


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


def until(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10.0
    while not done():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.005)


def test_lines_are_delivered_as_they_come_until_the_run_ends(recorder: Recorder) -> None:
    """The drain goes by itself when nothing more can come; how the run ended is in its last line."""
    drain = recorder.follow()
    until(lambda: recorder.lines() == 3)
    samples.write(recorder.path, samples.steps("r", 3, 4))
    until(lambda: recorder.lines() == 5)
    recorder.go(samples.line("r", "run_end", status="ok"))
    drain.join(5.0)
    assert recorder.states == [Delivery.UP_TO_DATE]
    assert (recorder.lines(), recorder.tracker.runs["r"].status) == (6, None)


def test_a_run_whose_recorder_is_gone_without_a_word_has_failed(recorder: Recorder) -> None:
    """After its last lines."""
    drain = recorder.follow()
    until(lambda: recorder.lines() == 3)
    recorder.go(*samples.steps("r", 3, 4))
    drain.join(5.0)
    assert (recorder.lines(), recorder.tracker.runs["r"].status) == (5, RunStatus.ERROR)


def test_what_nobody_takes_is_waited_for_no_longer_than_it_lingers(recorder: Recorder) -> None:
    """Lines and cursor stay for `sync`."""
    recorder.tracker.faults.extend([Fault.REFUSED] * 1000)
    recorder.go(samples.line("r", "run_end", status="ok"))
    began = time.monotonic()
    recorder.follow().join(10.0)
    assert recorder.states == [Delivery.UNAVAILABLE]
    assert TERMS.linger_s <= time.monotonic() - began < TERMS.linger_s + 2.0


def test_another_drain_of_the_same_target_is_waited_for(recorder: Recorder) -> None:
    """Two never work at once."""
    turn = lock.acquire(recorder.store.lock)
    drain = recorder.follow()
    time.sleep(0.1)
    assert recorder.lines() == 0
    turn.release()
    until(lambda: recorder.lines() == 3)
    recorder.go(samples.line("r", "run_end", status="ok"))
    drain.join(5.0)


def test_whoever_waits_and_is_told_to_leave_goes_at_once(recorder: Recorder) -> None:
    """The one that has the turn delivers."""
    turn = lock.acquire(recorder.store.lock)
    drain = recorder.follow()
    recorder.vigil.leave()
    drain.join(5.0)
    turn.release()
    recorder.go()
    assert recorder.states == [Delivery.BEHIND]


class Choosy(MemorySink):
    """A sink that asks for something else."""

    def open(self, run: Run) -> Tracked:
        """Refuse."""
        raise InputError(f"no experiment for {run.run_id}")


def test_what_only_a_person_can_mend_is_left_in_the_cursor(recorder: Recorder) -> None:
    """Where the recorder reads it; once it is mended, everything is still to be delivered."""
    recorder.follow(Choosy(recorder.tracker)).join(5.0)
    cursor = recorder.store.load()
    assert recorder.states == [Delivery.PARKED]
    assert cursor is not None
    assert (cursor.state, cursor.error, cursor.line) == (Delivery.PARKED, "no experiment for r", 0)
    assert sync(recorder.path, MemorySink(recorder.tracker)).sent == 3
    recorder.go()


@pytest.mark.parametrize("kind", [MemorySink, Choosy])
def test_what_stopped_a_delivery_is_said_once(
    recorder: Recorder, kind: type[MemorySink], caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the tracker says so, or what was asked of it cannot be found."""
    recorder.tracker.faults.append(Fault.GONE)
    recorder.follow(kind(recorder.tracker)).join(5.0)
    cursor = recorder.store.load()
    assert recorder.states == [Delivery.PARKED]
    assert cursor is not None
    assert caplog.messages == [f"memory: delivery stopped until this is mended: {cursor.error}"]


def test_a_journal_that_is_gone_with_its_recorder_parks_without_a_word_in_the_cursor(recorder: Recorder) -> None:
    """There is nothing that a cursor could be of."""
    recorder.path.unlink()
    recorder.go_without_a_word()
    recorder.follow().join(5.0)
    assert recorder.states == [Delivery.PARKED]
    assert recorder.store.load() is None


def test_a_journal_that_was_deleted_is_waited_for_while_it_is_recorded(recorder: Recorder) -> None:
    """Its recorder puts it back with the next line that it writes."""
    drain = recorder.follow()
    until(lambda: recorder.lines() == 3)
    text = recorder.path.read_bytes()
    recorder.path.unlink()
    time.sleep(0.1)
    recorder.path.write_bytes(text)
    recorder.go(samples.line("r", "run_end", status="ok"))
    drain.join(5.0)
    assert (recorder.states, recorder.lines()) == ([Delivery.UP_TO_DATE], 4)


def replace_by_older_copy(path: Path) -> bytes:
    """What an editor does that was opened a minute ago; the whole text."""
    text = path.read_bytes()
    draft = path.with_suffix(".draft")
    draft.write_bytes(text[: text.index(b"\n") + 1])
    draft.replace(path)
    return text


def test_an_older_copy_in_the_journals_place_is_completed_by_its_recorder(recorder: Recorder) -> None:
    """That takes until its next line, and a reader may meet any part of it meanwhile."""
    drain = recorder.follow()
    until(lambda: recorder.lines() == 3)
    text = replace_by_older_copy(recorder.path)
    time.sleep(0.2)
    recorder.path.write_bytes(text)
    recorder.go(samples.line("r", "run_end", status="ok"))
    drain.join(5.0)
    assert (recorder.states, recorder.lines()) == ([Delivery.UP_TO_DATE], 4)


def test_a_copy_that_nobody_completes_is_waited_for_in_vain(recorder: Recorder) -> None:
    """Then it is what only a person can mend, and is told as that."""
    drain = recorder.follow()
    until(lambda: recorder.lines() == 3)
    began = time.monotonic()
    replace_by_older_copy(recorder.path)
    drain.join(10.0)
    cursor = recorder.store.load()
    assert TERMS.mend_s <= time.monotonic() - began < TERMS.mend_s + 2.0
    assert recorder.states == [Delivery.PARKED]
    assert cursor is not None
    assert cursor.replaced
    recorder.go()
