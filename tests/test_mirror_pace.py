import logging

import pytest

from gradience.mirror import reason
from gradience.mirror.pace import Endurance, Pace


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        """The time now."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def endurance(clock: Clock, deadline_s: float | None = None, patience_s: float | None = None) -> Endurance:
    pace = Pace(deadline_s=deadline_s, patience_s=patience_s, clock=clock, sleep=clock.sleep, jitter=lambda: 1.0)
    return Endurance(pace, "memory")


def test_waiting_doubles_from_half_a_second_to_a_minute(clock: Clock) -> None:
    """Failures in a row are answered more and more calmly."""
    one = endurance(clock)
    for _ in range(10):
        assert one.failed("refused")
    assert clock.naps == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_jitter_shortens_a_wait_by_half_at_most(clock: Clock) -> None:
    """Many processes that lost one server do not come back at one instant."""
    Endurance(Pace(clock=clock, sleep=clock.sleep, jitter=lambda: 0.0), "memory").failed("refused")
    assert clock.naps == [0.25]


def test_the_last_attempt_begins_at_the_deadline(clock: Clock) -> None:
    """A wait is cut to the time that is left, and then it is over."""
    one = endurance(clock, deadline_s=2.0)
    assert [one.failed("refused") for _ in range(4)] == [True, True, True, False]
    assert clock.naps == [0.5, 1.0, 0.5]


def test_patience_starts_anew_with_progress(clock: Clock) -> None:
    """A long delivery is not an outage."""
    one = endurance(clock, patience_s=10.0)
    clock.sleep(9)
    one.progressed()
    clock.sleep(9)
    assert not one.is_over()
    clock.sleep(2)
    assert one.is_over()


def test_stop_ends_a_wait(clock: Clock) -> None:
    """Being told to stop needs no deadline."""
    stopped: list[bool] = []
    pace = Pace(stop=lambda: bool(stopped), clock=clock, sleep=lambda _seconds: stopped.append(True))
    assert not Endurance(pace, "memory").failed("refused")


def test_a_failure_is_said_once_then_once_a_minute_then_on_recovery(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage does not flood the log."""
    one = endurance(clock)
    with caplog.at_level(logging.INFO, "gradience.mirror"):
        for _ in range(8):
            one.failed("refused")
        one.progressed()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert said[-1] == "memory: delivering again after 8 failed attempts."


def test_events_set_aside_do_not_flood_the_log(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The first is said, then at most one a minute, with how many there were."""
    one = endurance(clock)
    for line in range(1, 101):
        one.rejected(line, "too long")
    clock.sleep(61)
    one.rejected(101, "too long")
    assert [record.getMessage() for record in caplog.records] == [
        "memory: line 1 set aside in the dead letters (1 in all): too long",
        "memory: line 101 set aside in the dead letters (101 in all): too long",
    ]


def test_a_reason_is_one_line_without_credentials() -> None:
    """What a library puts into its errors is not what we keep."""
    error = RuntimeError("no route\n  to http://me:secret@host/api")
    assert reason.of(error) == "no route to http://[REDACTED]@host/api"
    assert reason.of(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert len(reason.of(RuntimeError("x" * 5000))) == reason.LONGEST


def test_the_longest_wait_is_that_of_the_tracker(clock: Clock) -> None:
    """One that is down for a weekend need not be asked each minute; another one more often."""
    patient, eager = (
        Endurance(Pace(longest_wait_s=longest_s, clock=clock, sleep=clock.sleep, jitter=lambda: 1.0), "memory")
        for longest_s in (300.0, 1.0)
    )
    for _ in range(12):
        patient.failed("refused")
    assert clock.naps[-1] == 300.0
    for _ in range(4):
        eager.failed("refused")
    assert clock.naps[-2:] == [1.0, 1.0]
