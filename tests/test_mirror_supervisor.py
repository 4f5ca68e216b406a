import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradience.mirror.cursor import CursorFile
from gradience.mirror.drain import drain
from gradience.mirror.live import supervisor
from gradience.mirror.live.news import News
from gradience.mirror.live.sidecar import PARKED
from gradience.mirror.live.supervisor import Supervisor
from gradience.testing import MemorySink, MemoryTracker, samples


class Drain:
    """A host that does what the test says."""

    account = "see the test"

    def __init__(self) -> None:
        self.starts = 0
        self.is_told = False
        self.fault: Exception | None = None
        self._code: int | None = 0

    def start(self) -> None:
        """Count."""
        self.starts += 1
        if self.fault is not None:
            raise self.fault
        self._code = None

    def code(self) -> int | None:
        """What `end` said."""
        return self._code

    def leave(self) -> None:
        """Obey."""
        self.is_told = True
        self._code = 0

    def end(self, code: int) -> None:
        """Die."""
        self._code = code


class Office:
    """A journal with two lines, a drain and its supervisor."""

    def __init__(self, folder: Path) -> None:
        self.path = samples.write(folder / "run.jsonl", samples.steps("r", 1, 2))
        self.store = CursorFile(self.path, "memory", "memory:")
        self.drain = Drain()
        news = News(self.store, "memory", "r", lambda _cursor: "gradience sync", in_house=False)
        self.supervisor = Supervisor(self.drain, self.store, self.path, news)
        self.supervisor.start()

    def deliver(self) -> None:
        """Pass every line."""
        drain(self.path, MemorySink(MemoryTracker()), self.store)

    def close(self, seconds: float) -> float:
        """Close, and say how long that took."""
        began = time.monotonic()
        self.supervisor.close(began + seconds)
        return time.monotonic() - began


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setattr(supervisor, "LOOK_S", 0.02)
    monkeypatch.setattr(supervisor, "BACK_OFF_S", 0.05)
    monkeypatch.setattr(supervisor, "LONGEST_BACK_OFF_S", 0.4)
    office = Office(tmp_path)
    until(lambda: office.drain.starts == 1)
    yield office
    office.supervisor.hand_over()


def until(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10.0
    while not done():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.005)


def test_a_drain_that_dies_is_started_again_ever_more_slowly(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """Twice the wait each time, at least, and one line in the log."""
    waits = []
    for count in (2, 3, 4):
        office.drain.end(-9)
        began = time.monotonic()
        until(lambda count=count: office.drain.starts == count)  # type: ignore[misc]
        waits.append(time.monotonic() - began)
    assert all(wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True))
    assert caplog.text.count("memory: its side-car ended with code -9 and is started again (see the test)") == 1


def test_a_drain_that_cannot_start_is_tried_again(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """There may be memory, disk or processes later."""
    office.drain.fault = OSError("no more processes")
    office.drain.end(-9)
    until(lambda: office.drain.starts > 3)
    office.drain.fault = None
    until(lambda: office.drain.code() is None)
    assert caplog.text.count("memory: its side-car") == 1


def test_a_parked_drain_is_left_alone(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """Only a person can mend it; where the cursor does not tell why, the log of the side-car does."""
    office.drain.end(PARKED)
    time.sleep(0.5)
    assert office.drain.starts == 1
    assert "memory: its side-car has given up (see the test)" in caplog.text
    assert office.close(10.0) < 5.0


def test_close_waits_until_everything_is_delivered(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """Then the drain has nothing more to do."""
    assert office.close(0.3) >= 0.3
    assert "memory is 2 lines behind (not done in time)" in caplog.text
    assert not office.drain.is_told


def test_a_drain_with_nothing_more_to_do_is_seen_off(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """At once, and without a word."""
    office.deliver()
    assert office.close(10.0) < 5.0
    assert office.drain.is_told
    assert caplog.text == ""


def test_an_end_that_nobody_wrote_is_the_drains_to_see(office: Office) -> None:
    """It stays when its recorder's process ends without having closed: that process is still there."""
    office.deliver()
    assert office.supervisor.catch_up(time.monotonic() + 1.0)
    assert not office.drain.is_told


def test_after_the_end_nothing_is_started_again(office: Office) -> None:
    """A drain that dies while it lingers leaves the rest to `sync`."""
    office.close(0.1)
    office.drain.end(-9)
    time.sleep(0.3)
    assert office.drain.starts == 1


def test_close_gives_a_dead_drain_another_chance(office: Office) -> None:
    """Its back-off is not waited out: there is a deadline."""
    for count in (2, 3, 4):
        office.drain.end(-9)
        until(lambda count=count: office.drain.starts == count)  # type: ignore[misc]
    office.drain.end(-9)
    office.close(0.2)
    assert office.drain.starts >= 5


def test_a_journal_that_is_gone_holds_nobody_up(office: Office) -> None:
    """What cannot be read cannot be delivered."""
    office.path.unlink()
    assert office.close(10.0) < 5.0
