import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from gradience.errors import ExtraMissingError, TelemetryError
from gradience.mirror import deadletters
from gradience.mirror.cursor import CursorFile, Delivery
from gradience.mirror.drain import Outcome, drain
from gradience.mirror.pace import Pace
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.testing import Fault, Killed, MemoryRun, MemorySink, MemoryTracker, samples
from gradience.vnext.record import Record
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import RunStatus


class Mirror:
    """A journal, a tracker in memory, and drains that wait without any time passing."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "run.jsonl"
        self.tracker = MemoryTracker()
        self.now = 0.0

    def write(self, *lines: bytes) -> None:
        """Append to the journal."""
        samples.write(self.path, lines)

    @property
    def store(self) -> CursorFile:
        """Where the cursor is kept."""
        return CursorFile(self.path, "memory", "memory:")

    def drain(self, sink: MemorySink | None = None, from_start: bool = False, deadline_s: float = 1e6) -> Outcome:
        """One drain by a sink of its own."""
        pace = Pace(deadline_s=deadline_s, clock=lambda: self.now, sleep=self.sleep)
        return drain(self.path, sink or MemorySink(self.tracker), self.store, pace, from_start=from_start)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def lose_state(self) -> None:
        """Forget everything that is kept beside the journal."""
        shutil.rmtree(self.store.path.parent)

    def rows(self, run_id: str = "r") -> list[int]:
        """The lines that the tracker holds of a run."""
        return sorted(self.tracker.runs[run_id].rows)


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    mirror = Mirror(tmp_path)
    mirror.write(*samples.steps("r", 1, 10))
    return mirror


def rejecting(*lines: int) -> Callable[[Record], bool]:
    return lambda record: record.line in lines


def refused(tracker: MemoryTracker, faults: Iterable[Fault]) -> None:
    tracker.faults.extend(faults)


def test_a_journal_is_delivered_and_the_cursor_stands_at_its_end(mirror: Mirror) -> None:
    """Everything sent, nothing behind, the tracked run known."""
    outcome = mirror.drain()
    assert (outcome.state, outcome.sent, outcome.line, outcome.behind) == (Delivery.UP_TO_DATE, 10, 10, 0)
    assert outcome.runs["r"].url == "memory:memory-1"
    cursor = mirror.store.load()
    assert cursor is not None
    assert (cursor.offset, cursor.state) == (mirror.path.stat().st_size, Delivery.UP_TO_DATE)


def test_a_second_drain_sends_only_what_is_new(mirror: Mirror) -> None:
    """The cursor is where the first one ended."""
    mirror.drain()
    mirror.write(*samples.steps("r", 11, 12))
    assert mirror.drain().sent == 2
    assert mirror.rows() == list(range(1, 13))


def test_nothing_new_does_not_even_open_the_tracker(mirror: Mirror) -> None:
    """A drain of a mirrored journal costs no call."""
    mirror.drain()
    calls = mirror.tracker.calls
    assert mirror.drain().state is Delivery.UP_TO_DATE
    assert mirror.tracker.calls == calls


def test_each_run_of_a_file_has_its_own_tracked_run(mirror: Mirror) -> None:
    """Lines go where their run_id is, interleaved or not."""
    mirror.write(*samples.steps("other", 1, 2), *samples.steps("r", 11, 11))
    assert set(mirror.drain().runs) == {"r", "other"}
    assert mirror.rows("other") == [11, 12]
    assert mirror.rows("r") == [*range(1, 11), 13]
    assert mirror.tracker.complaints == []


def test_without_a_cursor_the_tracker_remembers(mirror: Mirror) -> None:
    """A file copied without its state folder goes on where it was."""
    mirror.drain()
    mirror.lose_state()
    mirror.write(*samples.steps("r", 11, 12))
    outcome = mirror.drain()
    assert (outcome.sent, outcome.skipped) == (2, 10)


def test_without_a_cursor_each_run_goes_on_from_its_own_position(mirror: Mirror) -> None:
    """A file of several runs that was half delivered is completed."""
    mirror.write(*samples.steps("other", 1, 5))
    mirror.drain()
    mirror.tracker.runs.pop("other")
    mirror.lose_state()
    outcome = mirror.drain()
    assert (outcome.sent, outcome.skipped) == (5, 10)


def test_a_foreign_position_stops_with_the_way_out(mirror: Mirror) -> None:
    """A tracked run that holds another file's lines is not mixed with this one."""
    mirror.drain()
    mirror.lose_state()
    mirror.path.write_bytes(b"".join(samples.steps("r", 2, 20)))
    with pytest.raises(TelemetryError, match="--from-start"):
        mirror.drain()


def test_a_truncated_journal_stops_with_the_way_out(mirror: Mirror) -> None:
    """The cursor counts lines that are not there."""
    mirror.drain()
    mirror.path.write_bytes(mirror.path.read_bytes()[:200])
    with pytest.raises(TelemetryError, match="replaced or truncated"):
        mirror.drain()


def test_a_tracked_run_that_was_replaced_stops_with_the_way_out(mirror: Mirror) -> None:
    """A tracker that was emptied would otherwise miss the first lines for good."""
    mirror.drain()
    mirror.tracker.runs["r"] = MemoryRun(id="memory-2")
    mirror.write(*samples.steps("r", 11, 11))
    with pytest.raises(TelemetryError, match="went to memory-1"):
        mirror.drain()


def test_a_tracker_restored_from_an_older_copy_stops_with_the_way_out(mirror: Mirror) -> None:
    """The cursor knows more lines than the tracker: some were lost there."""
    mirror.drain()
    backup = mirror.tracker.runs["r"].position
    mirror.write(*samples.steps("r", 11, 11))
    mirror.drain()
    mirror.tracker.runs["r"].position = backup
    mirror.write(*samples.steps("r", 12, 12))
    with pytest.raises(TelemetryError, match="holds lines up to 10, not 11"):
        mirror.drain()


def test_from_start_delivers_everything_again(mirror: Mirror) -> None:
    """Whatever cursor and tracker remember; the effects are the same."""
    mirror.drain()
    assert mirror.drain(from_start=True).sent == 10
    assert mirror.rows() == list(range(1, 11))
    assert mirror.tracker.complaints == []


def test_from_start_is_remembered_until_the_end_is_reached(mirror: Mirror) -> None:
    """An interrupted redelivery goes on as one: the second run's position does not cut it short."""
    mirror.write(*samples.steps("other", 1, 5))
    mirror.drain()
    refused(mirror.tracker, [Fault.NONE, Fault.NONE, Fault.KILLED])
    with pytest.raises(Killed):
        mirror.drain(from_start=True)
    assert mirror.drain().sent == 5
    assert mirror.drain().sent == 0


def test_an_outage_is_waited_out(mirror: Mirror) -> None:
    """Unavailable before and after the write: tried again until it is taken, each line once."""
    refused(mirror.tracker, [Fault.REFUSED] * 3 + [Fault.REPLY_LOST, Fault.NONE, Fault.REPLY_LOST])
    outcome = mirror.drain()
    assert (outcome.state, outcome.sent, outcome.error) == (Delivery.UP_TO_DATE, 10, None)


def test_a_deadline_leaves_the_rest_behind(mirror: Mirror) -> None:
    """The cursor keeps its place, and says why."""
    refused(mirror.tracker, [Fault.REFUSED] * 100)
    outcome = mirror.drain(deadline_s=5)
    assert (outcome.state, outcome.behind) == (Delivery.UNAVAILABLE, 10)
    assert outcome.error == Fault.REFUSED.value
    cursor = mirror.store.load()
    assert cursor is not None
    assert (cursor.state, cursor.error, cursor.line) == (Delivery.UNAVAILABLE, Fault.REFUSED.value, 0)


def test_a_rejected_event_is_set_aside_alone(mirror: Mirror) -> None:
    """Its neighbours arrive; it lies in the dead letters with the reason."""
    mirror.tracker.rejects = rejecting(4, 7)
    outcome = mirror.drain()
    assert (outcome.state, outcome.sent, outcome.rejected) == (Delivery.UP_TO_DATE, 8, 2)
    assert mirror.rows() == [1, 2, 3, 5, 6, 8, 9, 10]
    letters = deadletters.read(mirror.store.dead_letters)
    assert [(letter.line, letter.reason) for letter in letters] == [
        (4, "line 4 is not acceptable"),
        (7, "line 7 is not acceptable"),
    ]


def test_a_batch_that_fails_in_unknown_ways_is_halved_after_three_attempts(mirror: Mirror) -> None:
    """A passing fault costs nothing; one that stays with an event sets that event aside."""

    class Choking(MemorySink):
        def deliver(self, batch: Batch) -> None:
            if any(record.line == 6 for record in batch.records):
                raise ValueError("cannot swallow")
            super().deliver(batch)

    assert mirror.drain(Choking(mirror.tracker)).rejected == 1
    assert mirror.rows() == [1, 2, 3, 4, 5, 7, 8, 9, 10]
    assert deadletters.read(mirror.store.dead_letters)[0].reason == "ValueError: cannot swallow"


def test_a_passing_fault_of_unknown_kind_rejects_nothing(mirror: Mirror) -> None:
    """Twice in a row is not three times."""
    refused(mirror.tracker, [Fault.NONE, Fault.BROKEN, Fault.BROKEN])
    assert mirror.drain().rejected == 0


def test_a_bisect_changes_nothing_about_what_is_accepted(mirror: Mirror) -> None:
    """Alert counts in smaller batches are those of the journal, not of the batch."""
    given: dict[int, dict[str, int]] = {}

    class Noting(MemorySink):
        def deliver(self, batch: Batch) -> None:
            super().deliver(batch)
            given[batch.records[0].line] = dict(batch.alerts)

    mirror.path.unlink()
    mirror.write(*[samples.line("r", "alert", severity="info", code="A", message="m") for _ in range(8)])
    mirror.tracker.rejects = rejecting(3)
    mirror.drain(Noting(mirror.tracker))
    assert given == {1: {}, 4: {"info": 3}, 5: {"info": 4}}


def test_a_bisect_ends_when_it_is_told_to(mirror: Mirror) -> None:
    """What is left of the batch is behind, and nothing of it is set aside."""
    mirror.tracker.rejects = rejecting(7)
    enough = Pace(stop=lambda: any(run.rows for run in mirror.tracker.runs.values()))
    outcome = drain(mirror.path, MemorySink(mirror.tracker), mirror.store, enough)
    assert mirror.rows() == [1, 2, 3, 4, 5]
    assert (outcome.behind, outcome.rejected) == (5, 0)


def test_a_target_that_is_gone_is_parked(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """Only a person can mend it: no retry, the cursor stays; the outcome says why, and no line beside it."""
    refused(mirror.tracker, [Fault.NONE, Fault.GONE])
    with caplog.at_level(logging.WARNING, "gradience.mirror"):
        outcome = mirror.drain()
    assert (outcome.state, outcome.behind, mirror.now) == (Delivery.PARKED, 10, 0.0)
    assert (outcome.error, caplog.text) == (Fault.GONE.value, "")
    assert mirror.drain().state is Delivery.UP_TO_DATE


def test_a_run_that_cannot_be_opened_is_parked(mirror: Mirror) -> None:
    """No event is to blame, so none is set aside."""
    refused(mirror.tracker, [Fault.BROKEN] * 3)
    outcome = mirror.drain()
    assert (outcome.state, outcome.rejected, outcome.error) == (
        Delivery.PARKED,
        0,
        f"RuntimeError: {Fault.BROKEN.value}",
    )


def test_a_missing_library_is_raised(mirror: Mirror) -> None:
    """Asked for by name, and no delivery will mend it."""

    class Bare(MemorySink):
        def open(self, run: Run) -> Tracked:
            raise ExtraMissingError(f"install it for {run.run_id}")

    with pytest.raises(ExtraMissingError):
        mirror.drain(Bare())


@pytest.mark.parametrize("fault", [Fault.KILLED, Fault.KILLED_AFTER])
def test_a_killed_drain_is_taken_up_by_the_next(mirror: Mirror, fault: Fault) -> None:
    """Whether the write had happened or not, every line is there once."""
    refused(mirror.tracker, [Fault.NONE, fault])
    with pytest.raises(Killed):
        mirror.drain()
    assert mirror.drain().state is Delivery.UP_TO_DATE
    assert mirror.rows() == list(range(1, 11))


def test_lines_that_are_no_telemetry_are_passed_over_and_counted(mirror: Mirror) -> None:
    """A torn line is the reader's to report; an event of a later version is delivered."""
    mirror.write(b'{"torn\n', samples.line("r", "of_a_later_version"))
    outcome = mirror.drain()
    assert (outcome.state, outcome.sent, outcome.unreadable, outcome.line) == (Delivery.UP_TO_DATE, 11, 1, 12)


def test_a_run_is_opened_with_its_start_and_configuration(mirror: Mirror) -> None:
    """Also when the cursor stands behind its run_start."""
    seen: list[Run] = []

    class Watching(MemorySink):
        def open(self, run: Run) -> Tracked:
            seen.append(run)
            return super().open(run)

    mirror.path.unlink()
    mirror.write(samples.line("r", "run_start", ts=5.0, config={"lora": {"r": 8}}, meta={"output_dir": "out"}))
    mirror.drain(Watching(mirror.tracker))
    mirror.write(*samples.steps("r", 1, 1))
    mirror.drain(Watching(mirror.tracker))
    first, later = seen
    assert (first.started, first.config, first.meta, first.tracked) == (
        5.0,
        {"lora": {"r": 8}},
        {"output_dir": "out"},
        None,
    )
    assert (later.started, later.config, later.tracked) == (5.0, {"lora": {"r": 8}}, "memory-1")
    assert (later.journal, later.state_dir) == (str(mirror.path.resolve()), str(mirror.store.path.parent))


def test_a_journal_that_was_changed_after_its_end_is_delivered_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By its last seal, however many ends it has, and in every batch size; one that is as it was is no remark worth."""
    mirror = Mirror(tmp_path)
    for run_id in ("a", "b"):
        with TelemetryWriter(mirror.path, run_id=run_id) as writer:
            writer.run_start({})
            writer.train_step(1, loss=1.0)
    assert mirror.drain().state is Delivery.UP_TO_DATE
    assert caplog.messages == []
    mirror.lose_state()
    mirror.tracker.runs.clear()
    mirror.path.write_bytes(mirror.path.read_bytes().replace(b'"loss":1.0', b'"loss":2.0', 1))
    assert (mirror.drain().sent, mirror.drain().sent) == (6, 0)
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "line 6 sealed its first 5 lines, and they are others now."
    ]


def test_following_waits_at_the_end_until_there_is_no_more_to_come(mirror: Mirror) -> None:
    """Live mirroring is the same loop, asking at the end of the file whether it is worth waiting."""
    rest = [samples.steps("r", 11, 11)[0], samples.steps("r", 12, 12)[0]]

    def follow() -> bool:
        if rest:
            mirror.write(rest.pop(0))
            return True
        return False

    pace = Pace(follow=follow, sleep=lambda _seconds: None)
    assert drain(mirror.path, MemorySink(mirror.tracker), mirror.store, pace).sent == 12


def test_stop_ends_the_drain_between_batches(mirror: Mirror) -> None:
    """Told to stop, it leaves the rest behind without an error."""
    outcome = drain(mirror.path, MemorySink(mirror.tracker), mirror.store, Pace(stop=lambda: True))
    assert (outcome.state, outcome.behind, outcome.error) == (Delivery.BEHIND, 10, None)


def test_a_cursor_that_cannot_be_saved_stops_no_delivery(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a full disk the tracker's own memory has to do."""

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CursorFile, "save", full)
    assert mirror.drain().state is Delivery.UP_TO_DATE
    assert "No space left on device" in caplog.text


def test_an_event_that_cannot_be_set_aside_is_not_passed(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its dead letter it would be lost: the drain waits, and ends behind."""

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deadletters.DeadLetters, "bury", full)
    mirror.tracker.rejects = rejecting(4)
    outcome = mirror.drain(deadline_s=5)
    assert (outcome.state, outcome.line) == (Delivery.UNAVAILABLE, 3)
    assert outcome.error == "cannot write dead letters: No space left on device"


def test_a_run_that_was_killed_before_another_began_in_its_file_has_failed(mirror: Mirror) -> None:
    """Nobody else ends it: the side-car of its recorder has made way. One that came to an end is left alone."""
    mirror.write(*samples.every_event("ended"), *samples.every_event("killed")[:-1])
    mirror.drain()
    assert mirror.tracker.runs["killed"].status is None
    mirror.write(*samples.every_event("next"))
    outcome = mirror.drain()
    assert (outcome.state, outcome.sent) == (Delivery.UP_TO_DATE, 9)
    assert {name: run.status for name, run in mirror.tracker.runs.items() if run.status} == {"killed": RunStatus.ERROR}


def test_a_killed_run_is_ended_once(mirror: Mirror) -> None:
    """What is added to the file later, or a resume of the other run, tells nothing new of it."""
    mirror.write(*samples.every_event("killed")[:-1], *samples.every_event("next")[:-1])
    mirror.drain()
    mirror.tracker.runs["killed"].status = None
    mirror.write(*samples.every_event("next"), *samples.steps("killed", 9, 9))
    mirror.drain()
    assert mirror.tracker.runs["killed"].status is None


def test_an_outage_does_not_save_a_killed_run(mirror: Mirror) -> None:
    """It is waited for as with any line."""
    mirror.write(*samples.every_event("killed")[:-1])
    mirror.drain()
    mirror.write(*samples.every_event("next"))
    mirror.tracker.faults.extend([Fault.REFUSED] * 3)
    assert mirror.drain().state is Delivery.UP_TO_DATE
    assert mirror.tracker.runs["killed"].status is RunStatus.ERROR
