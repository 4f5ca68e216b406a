import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradience.mirror.live.presence import Presence
from gradience.mirror.live.spec import Spec, Terms
from gradience.mirror.live.vigil import Vigil
from gradience.mirror.wish import Wish
from gradience.testing import samples
from gradience.vnext import lock, state

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
TERMS = Terms(poll_s=10.0, grace_s=0.2, linger_s=0.2, leave_s=0.2)


class Recorder:
    """A journal whose recorder is this process."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "run.jsonl"
        samples.write(self.path, samples.steps("r", 1, 1))
        self._lock = lock.acquire(state.folder(self.path) / state.RECORDER_LOCK)

    def vigil(self, idle_since: float | None = None) -> Vigil:
        """The vigil of a drain that works for it."""
        return Vigil(
            Spec(journal=str(self.path), wish=Wish(type="x"), recorder=os.getpid(), terms=TERMS, idle_since=idle_since)
        )

    def end(self) -> None:
        """Write the end of the run."""
        samples.write(self.path, [samples.line("r", "run_end", status="ok")])

    def go(self) -> None:
        """Be gone."""
        self._lock.release()


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic clock, in the hands of the test."""
    made = Clock()
    monkeypatch.setattr("time.monotonic", lambda: made.now)
    return made


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path)
    yield recorder
    recorder.go()


def test_a_recorder_at_work_is_followed_for_ever(recorder: Recorder, clock: Clock) -> None:
    """Neither the end of the file nor an outage ends the drain."""
    vigil = recorder.vigil()
    assert vigil.follow()
    assert not vigil.stop()
    clock.pass_by(TERMS.linger_s)
    assert vigil.follow()
    assert not vigil.stop()


def test_the_end_of_the_file_is_read_once_more_after_the_recorder_has_gone(recorder: Recorder) -> None:
    """Its last line may have come between the last look at the file and that at the recorder."""
    vigil = recorder.vigil()
    recorder.end()
    recorder.go()
    assert vigil.stop() is False
    assert vigil.follow()
    assert not vigil.follow()


def test_a_run_without_an_end_is_followed_for_a_moment(recorder: Recorder, clock: Clock) -> None:
    """A cell that runs again, a trainer that is restarted: they are back soon."""
    vigil = recorder.vigil()
    recorder.go()
    assert vigil.follow()
    assert vigil.follow()
    clock.pass_by(TERMS.grace_s)
    assert not vigil.follow()


def test_patience_counts_from_the_last_progress(recorder: Recorder, clock: Clock) -> None:
    """An outage without a recorder ends the drain, but not while lines get through."""
    vigil = recorder.vigil()
    recorder.go()
    assert not vigil.stop()
    clock.pass_by(0.15)
    vigil.progressed()
    assert not vigil.stop()
    clock.pass_by(0.15)
    assert not vigil.stop()
    clock.pass_by(0.1)
    assert vigil.stop()


def test_patience_is_not_renewed_by_beginning_anew(recorder: Recorder) -> None:
    """A process that executes itself again brings along since when it waits."""
    recorder.go()
    assert recorder.vigil(idle_since=time.monotonic() - TERMS.linger_s).stop()


def test_whoever_is_told_to_leave_delivers_what_is_there(recorder: Recorder, clock: Clock) -> None:
    """It waits for nothing more, and for an outage only for a moment."""
    vigil = recorder.vigil()
    vigil.leave()
    assert not vigil.follow()
    assert not vigil.stop()
    clock.pass_by(TERMS.leave_s)
    assert vigil.stop()


def test_a_sleep_ends_when_the_recorder_goes(recorder: Recorder) -> None:
    """What it left is tried at once; close() waits for that."""
    vigil = recorder.vigil()
    assert vigil.look() is Presence.AT_WORK
    recorder.go()
    began = time.monotonic()
    vigil.sleep(10.0)
    assert time.monotonic() - began < 5.0


def test_whoever_waits_still_shows_that_it_does_not_hang(recorder: Recorder) -> None:
    """The watchdog hears of a back-off that is longer than its patience."""
    heard: list[float] = []
    spec = Spec(journal=str(recorder.path), wish=Wish(type="x"), recorder=os.getpid(), terms=TERMS)
    Vigil(spec, heard=lambda: heard.append(time.monotonic())).sleep(0.6)
    assert len(heard) >= 2


def test_whoever_delivers_shows_that_it_does_not_hang(recorder: Recorder) -> None:
    """A thousand lines of which each is tried alone take longer than one call may."""
    heard: list[float] = []
    spec = Spec(journal=str(recorder.path), wish=Wish(type="x"), recorder=os.getpid(), terms=TERMS)
    Vigil(spec, heard=lambda: heard.append(time.monotonic())).progressed()
    assert len(heard) == 1
