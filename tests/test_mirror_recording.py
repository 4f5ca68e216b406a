"""The mirror of one recorder, with drains in threads of this process."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gradience.errors import ConfigError, InputError
from gradience.mirror.cursor import Delivery
from gradience.mirror.fleet.standing import standings
from gradience.mirror.live import recording
from gradience.mirror.live.spec import Terms
from gradience.mirror.sync import sync
from gradience.testing import Fault, MemorySink, MemoryTracker
from gradience.testing.folder import FolderSink, runs
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import RunStatus

TERMS = Terms(poll_s=0.05, grace_s=0.2, linger_s=1.0)


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "TERMS", TERMS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def until(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10.0
    while not done():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.005)


def test_a_thread_delivers_to_a_sink_object(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same loop, for a sink that lives in this process; no thread of it is left."""
    caplog.set_level(logging.INFO, "gradience.mirror")
    tracker, before = MemoryTracker(), set(threading.enumerate())
    with TelemetryWriter(path, "r", sinks=[MemorySink(tracker)], host="thread") as writer:
        writer.train_step(1, loss=1.0)
        threads = set(threading.enumerate()) - before
    assert list(tracker.runs["r"].rows) == [1, 2]
    assert tracker.complaints == []
    assert "memory: this run is at memory:memory-1" in caplog.text
    for thread in threads:
        thread.join(5.0)
    assert not any(thread.is_alive() for thread in threads)


def test_each_sink_is_delivered_to_by_itself(path: Path, tmp_path: Path) -> None:
    """One that is down holds no other up."""
    tracker = MemoryTracker([Fault.REFUSED] * 1000)
    sinks = [MemorySink(tracker), FolderSink(root=str(tmp_path / "tracker"))]
    with TelemetryWriter(path, "r", sinks=sinks, host="thread", close_timeout_s=2.0) as writer:
        writer.train_step(1, loss=1.0)
    assert list(runs(tmp_path / "tracker")["r"].rows) == [1, 2]
    assert list(tracker.runs) == []


def test_a_journal_that_was_cut_is_behind_by_all_that_it_holds(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The place of before means nothing any more, and only a delivery from the start catches up."""
    tracker = MemoryTracker()
    with TelemetryWriter(path, "r", sinks=[MemorySink(tracker)], host="thread") as writer:
        for step in range(5):
            writer.train_step(step, loss=1.0)
        until(lambda: len(tracker.runs) == 1 and len(tracker.runs["r"].rows) == 5)
        os.truncate(path, 0)
        until(lambda: "was replaced or truncated" in caplog.text)
        writer.train_step(5, loss=1.0)
    assert "memory is 2 lines behind" in caplog.messages[-1]
    assert caplog.messages[-1].endswith(f"gradience sync {path} --to memory --from-start")
    assert [(one.line, one.behind) for one in standings(path)] == [(0, 2)]
    assert sync(path, MemorySink(tracker), from_start=True).sent == 2


def test_an_outage_in_a_thread_is_said_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By the drain itself, which talks to the same log."""
    tracker = MemoryTracker([Fault.REFUSED])
    with TelemetryWriter(path, "r", sinks=[MemorySink(tracker)], host="thread") as writer:
        writer.train_step(1, loss=1.0)
    assert [record.getMessage().partition(":")[2] for record in caplog.records] == [
        " not delivered, will try again (attempt 1): unavailable, before anything was written",
        " delivering again after 1 failed attempts.",
    ]


def test_a_recorder_that_is_replaced_leaves_delivery_to_the_next(path: Path) -> None:
    """A cell that runs again: both attempts arrive, and the tracked run ends once."""
    tracker = MemoryTracker()
    first = TelemetryWriter(path, "r", sinks=[MemorySink(tracker)], host="thread")
    first.train_step(1, loss=1.0)
    with TelemetryWriter(path, sinks=[MemorySink(tracker)], host="thread") as second:
        second.train_step(2, loss=1.0)
    assert list(tracker.runs["r"].rows) == [1, 2, 3]
    assert tracker.complaints == []
    assert tracker.runs["r"].status is None


def test_a_sink_that_cannot_start_costs_the_run_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said with the command that catches up, and training goes on."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    writer = TelemetryWriter(path, "r", sinks=[MemorySink()], host="thread", strict=True)
    monkeypatch.setattr(recording, "CursorFile", broken)
    writer.train_step(1, loss=1.0)
    writer.close()
    assert f"memory: not mirrored: broken; catch up with: gradience sync {path} --to memory" in caplog.text


class Knowing(FolderSink):
    """A sink that finds a run that is active in this process."""

    def __init__(self, *, root: str, active_run: str | None = None) -> None:
        super().__init__(root=root)
        self.joined = active_run

    def active_run(self) -> dict[str, str]:
        """One that is active always."""
        return {"active_run": "theirs"}


def test_an_active_run_is_named_as_long_as_nothing_leads_to_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Before the first delivery only the option knows of it, so the command has to say it."""
    root = path.parent / "tracker"
    root.mkdir()
    (root / "fault").write_text("refused")
    sink = {"type": f"{__name__}:Knowing", "root": str(root)}
    with TelemetryWriter(path, "r", sinks=[sink], host="thread", close_timeout_s=0.2) as writer:
        writer.train_step(1, loss=1.0)
    assert caplog.text.rstrip().endswith("Knowing --run theirs")


def test_a_sink_object_cannot_go_to_another_process(path: Path) -> None:
    """It lives here."""
    with pytest.raises(InputError, match="name it, or give host='thread'"):
        TelemetryWriter(path, sinks=[MemorySink()])


def test_windows_has_no_sidecars(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in one line, with what works instead; the recorder itself works."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="give host='thread', or run `gradience sync` beside training"):
        TelemetryWriter(path, sinks=[{"type": "gradience.testing.folder:FolderSink", "root": "x"}])
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"host": "moon"}, "host is 'moon'"), ({"close_timeout_s": float("nan")}, "close_timeout_s is nan")],
)
def test_an_option_that_makes_no_sense_is_refused(path: Path, options: dict[str, object], words: str) -> None:
    """At the constructor."""
    with pytest.raises(ValueError, match=words):
        TelemetryWriter(path, sinks=[MemorySink()], **options)  # type: ignore[arg-type]


def test_a_run_without_an_end_does_not_fail_while_its_process_lives_on(path: Path) -> None:
    """Nobody has closed the recorder yet."""
    tracker = MemoryTracker()
    writer = TelemetryWriter(path, "r", sinks=[MemorySink(tracker)], host="thread")
    writer.train_step(1, loss=1.0)
    time.sleep(3 * TERMS.grace_s)
    assert tracker.runs["r"].status is None
    writer.__exit__(ValueError, ValueError("x"), None)
    assert list(tracker.runs["r"].rows) == [1, 2]
    assert tracker.runs["r"].status in (None, RunStatus.ERROR)


def test_the_sinks_of_a_file_are_mirrored_to(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each as its entry says; what is left behind names the file, and nothing that stands in it."""
    (tmp_path / "tracker").mkdir()
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "fault").write_text("refused")
    file = tmp_path / "sinks.yaml"
    sink = "gradience.testing.folder:FolderSink"
    file.write_text(
        f"- {{type: {sink}, root: {tmp_path}/tracker, events: [eval]}}\n"
        f"- {{type: {sink}, name: the other, root: {tmp_path}/down, close_timeout_s: 0.2}}\n"
    )
    began = time.monotonic()
    with TelemetryWriter(path, "r", sinks=file, host="thread") as writer:
        writer.train_step(1, loss=1.0)
        writer.eval(1, split="test", metrics={"loss": 1.0})
    assert time.monotonic() - began < 10.0
    assert ["loss" in row for row in runs(tmp_path / "tracker")["r"].rows.values()] == [False, True, False]
    (behind,) = [line for line in caplog.messages if "lines behind" in line]
    assert behind.startswith("the other is 3 lines behind")
    assert behind.endswith(f"catch up with: gradience sync {path} --sinks {file}")


def test_sinks_come_from_the_environment_if_none_are_given(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training script needs no change; an empty list means none, whatever the environment says."""
    monkeypatch.setenv("GRADIENCE_SINKS", "no-such-sink")
    with pytest.raises(ConfigError, match="no sink named 'no-such-sink'"):
        TelemetryWriter(path)
    TelemetryWriter(path, sinks=()).close()
    monkeypatch.setenv("GRADIENCE_SINKS", str(path.with_name("none.yaml")))
    with pytest.raises(InputError, match=r"cannot read sinks from .*none\.yaml: No such file"):
        TelemetryWriter(path)
    monkeypatch.setenv("GRADIENCE_SINKS", "")
    TelemetryWriter(path).close()


def test_lines_gather_as_long_as_an_entry_says(path: Path) -> None:
    """A tracker that is not to be asked each second; the end of a recording is not held up by it."""
    tracker = MemoryTracker()
    file = path.with_name("sinks.yaml")
    file.write_text(f"- {{type: {__name__}:Shared, flush_interval_s: 600}}")
    Shared.held = tracker
    with TelemetryWriter(path, "r", sinks=str(file), host="thread") as writer:
        writer.train_step(1, loss=1.0)
        until(lambda: [one.state for one in standings(path)] == [Delivery.UP_TO_DATE])
        writer.train_step(2, loss=1.0)
        time.sleep(10 * TERMS.poll_s)
        assert list(tracker.runs["r"].rows) == [1]
    assert list(tracker.runs["r"].rows) == [1, 2, 3]


class Shared(MemorySink):
    """A sink by name whose tracker lives in this process."""

    held = MemoryTracker()

    def __init__(self) -> None:
        super().__init__(self.held)
