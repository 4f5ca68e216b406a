from pathlib import Path

import pytest

from gradience.mirror import ending
from gradience.mirror.cursor import CursorFile
from gradience.mirror.drain import drain
from gradience.mirror.pace import Pace
from gradience.testing import Fault, MemorySink, MemoryTracker, samples
from gradience.vnext.types import RunStatus


class Death:
    """A journal whose recorder was killed, delivered up to its last line."""

    def __init__(self, folder: Path) -> None:
        self.path = samples.write(folder / "run.jsonl", [*samples.every_event("first"), *samples.every_event("r")[:-1]])
        self.tracker = MemoryTracker()
        self.store = CursorFile(self.path, "memory", "memory:")
        drain(self.path, MemorySink(self.tracker), self.store)

    def tell(self, patience_s: float = 1e6) -> None:
        """End the tracked run, in no time."""
        now = [0.0]
        pace = Pace(
            patience_s=patience_s, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds)
        )
        ending.fail(self.path, MemorySink(self.tracker), self.store, pace)

    def status(self, run_id: str = "r") -> RunStatus | None:
        """How the tracked run ended."""
        return self.tracker.runs[run_id].status


@pytest.fixture
def death(tmp_path: Path) -> Death:
    return Death(tmp_path)


def test_the_last_run_fails_and_no_other(death: Death) -> None:
    """By a sink that has delivered nothing itself: the lines may have gone before."""
    death.tell()
    assert (death.status("first"), death.status()) == (None, RunStatus.ERROR)


def test_whoever_ends_a_run_is_told_where_its_state_is_kept(death: Death, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink whose tracker has no memory looks there for its own, for an end as for a delivery."""
    told = []
    monkeypatch.setattr(MemorySink, "open", lambda _sink, run: told.append(run.state_dir))
    death.tell()
    assert told == [str(death.store.path.parent)]


def test_a_tracker_that_is_down_is_told_later(death: Death) -> None:
    """With the patience of any delivery."""
    death.tracker.faults.extend([Fault.REFUSED] * 3)
    death.tell()
    assert death.status() is RunStatus.ERROR


def test_patience_ends(death: Death) -> None:
    """The side-car does not stay for a status."""
    death.tracker.faults.extend([Fault.REFUSED] * 100)
    death.tell(patience_s=10)
    assert death.status() is None


def test_a_run_that_is_gone_is_left_alone(death: Death, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and that is all."""
    death.tracker.faults.append(Fault.GONE)
    death.tell()
    assert death.status() is None
    assert "cannot end the tracked run as failed" in caplog.text


def test_what_was_never_delivered_has_no_end(tmp_path: Path) -> None:
    """Without a tracked run there is nothing to tell."""
    path = samples.write(tmp_path / "run.jsonl", samples.steps("r", 1, 1))
    tracker = MemoryTracker()
    ending.fail(path, MemorySink(tracker), CursorFile(path, "memory", "memory:"), Pace())
    assert tracker.calls == 0
