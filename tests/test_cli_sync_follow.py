"""`gradience sync --follow`: a standing service, as a process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click.testing
import pytest

from gradience.cli.main import group
from gradience.testing import samples
from gradience.testing.folder import FolderRun, runs

SINK = "gradience.testing.folder:FolderSink"
# The command with less patience than a node's service has.
SERVICE = """
from gradience.cli import following
from gradience.cli.main import main
from gradience.mirror.fleet import watch, watched
following.POLL_S, following.LAG_S = 0.1, 1.0
watch.SCAN_S, watch.IDLE_S = 0.2, 1.0
watched.REST_S, watched.GRACE_S = 0.2, 1.0
main()
"""
RECORDER = """
import sys, time
from gradience.vnext.telemetry import TelemetryWriter
with TelemetryWriter(sys.argv[1]) as writer:
    writer.run_start({"model_name": "m"})
    for step in range(int(sys.argv[2])):
        writer.train_step(step, loss=1.0)
        time.sleep(0.02)
"""


class Place:
    """A directory of runs, a tracker, and the processes around them."""

    def __init__(self, folder: Path) -> None:
        self.tracker = folder / "tracker"
        self.tracker.mkdir()
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.started: list[subprocess.Popen[str]] = []

    def follow(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the service."""
        to = ["--to", SINK, "--tracking-uri", str(self.tracker), "--follow", *arguments]
        service = self._start(SERVICE, "sync", str(self.runs), *to)
        assert service.stderr is not None
        assert service.stderr.readline().startswith("Following ")
        return service

    def train(self, name: str, steps: int) -> "subprocess.Popen[str]":
        """Start a recorder."""
        return self._start(RECORDER, str(self.runs / name), str(steps))

    def write(self, name: str, first: int, last: int) -> Path:
        """Append to a journal."""
        return samples.write(self.runs / f"{name}.jsonl", samples.steps(name, first, last))

    def fault(self, kind: str | None) -> None:
        """How the tracker answers."""
        (self.tracker / "fault").write_text(kind or "")

    def rows(self) -> dict[str, int]:
        """How many lines the tracker holds of each run."""
        return {name: len(run.rows) for name, run in runs(self.tracker).items()}

    def only_run(self) -> FolderRun:
        """The one run in the tracker."""
        (run,) = runs(self.tracker).values()
        return run

    def _start(self, script: str, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.started.append(process)
        return process


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for process in place.started:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def until(done: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that must come."""
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.02)


def leave(service: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> tuple[str, str]:
    """Tell the service to leave; what it said."""
    service.send_signal(number)
    return service.communicate(timeout=60)


@pytest.mark.slow
def test_journals_are_delivered_as_they_appear_and_grow(place: Place) -> None:
    """Those that were there, those that come later, and what is appended to either."""
    place.write("old", 1, 5)
    service = place.follow()
    until(lambda: place.rows() == {"old": 5})
    place.write("new", 1, 3)
    until(lambda: place.rows() == {"old": 5, "new": 3})
    place.write("old", 6, 7)
    until(lambda: place.rows() == {"old": 7, "new": 3})
    out, err = leave(service)
    assert service.returncode == 0
    assert f"{place.runs / 'old.jsonl'} -> {SINK}: 7 sent, 0 rejected, up to date" in out
    assert err.splitlines()[-1] == "Leaving: what is there is delivered, for at most 30 s."


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_has_what_is_there_delivered_first(place: Place, number: int) -> None:
    """A node that is drained loses no line."""
    recorder = place.train("run.jsonl", 100_000)
    service = place.follow()
    until(lambda: len(place.rows()) == 1)
    recorder.send_signal(signal.SIGSTOP)
    lines = (place.runs / "run.jsonl").read_bytes().count(b"\n")
    _, err = leave(service, number)
    assert (service.returncode, list(place.rows().values())) == (0, [lines]), err


@pytest.mark.slow
def test_a_run_that_goes_on_does_not_keep_the_service_from_leaving(place: Place) -> None:
    """What comes after the signal is for the next service."""
    place.train("run.jsonl", 100_000)
    service = place.follow()
    until(lambda: len(place.rows()) == 1)
    began = time.monotonic()
    leave(service)
    assert time.monotonic() - began < 15
    assert service.returncode in (0, 4)  # the recorder may have written another line by the time it is looked at


@pytest.mark.slow
def test_what_cannot_be_delivered_within_the_deadline_is_exit_code_4(place: Place) -> None:
    """And the command that catches up."""
    place.fault("refused")
    place.write("r", 1, 5)
    service = place.follow("--deadline", "1.5")
    until(lambda: place.runs.joinpath("r.jsonl.gradience").exists())
    began = time.monotonic()
    out, err = leave(service)
    assert time.monotonic() - began < 10
    assert (service.returncode, "0 sent, 0 rejected, 5 behind" in out) == (4, True)
    assert f"Catch up with: gradience sync {place.runs / 'r.jsonl'} --to {SINK}" in err


@pytest.mark.slow
def test_a_tracker_that_hangs_does_not_outlast_the_deadline(place: Place) -> None:
    """Its workers are ended."""
    place.fault("hang")
    place.write("r", 1, 5)
    service = place.follow("--deadline", "1")
    until(lambda: place.runs.joinpath("r.jsonl.gradience").exists())
    began = time.monotonic()
    leave(service)
    assert (service.returncode, time.monotonic() - began < 10) == (4, True)


@pytest.mark.slow
def test_an_outage_is_waited_out_and_told_as_a_lag(place: Place) -> None:
    """Nobody has to do anything, and somebody may want to know."""
    place.fault("refused")
    for number in range(12):
        place.write(f"r{number:02}", 1, 5)
    service = place.follow()
    time.sleep(6)
    place.fault(None)
    until(lambda: place.rows() == {f"r{number:02}": 5 for number in range(12)})
    time.sleep(1.5)
    _, err = leave(service)
    assert service.returncode == 0
    assert "lag: 60 lines in 12 of 12 journals" in err
    assert "lag: none" in err
    assert "the tracker answers again" in err


@pytest.mark.slow
def test_a_service_that_is_killed_is_resumed_by_the_next(place: Place) -> None:
    """Killed five times over a run at work: each line is there, and once."""
    recorder = place.train("run.jsonl", 300)
    for _ in range(5):
        service = place.follow()
        time.sleep(1.2)
        service.kill()
        service.communicate()
    recorder.wait(timeout=60)
    service = place.follow()
    until(lambda: list(place.rows().values()) == [302])
    leave(service)
    assert service.returncode == 0
    assert place.only_run().status == "ok"


@pytest.mark.slow
def test_a_run_whose_recorder_was_killed_ends_as_failed(place: Place) -> None:
    """After a grace, and after all it had to say."""
    recorder = place.train("run.jsonl", 100_000)
    service = place.follow()
    until(lambda: len(place.rows()) == 1)
    recorder.kill()
    recorder.communicate()
    until(lambda: place.only_run().status == "error")
    assert len(place.only_run().rows) == (place.runs / "run.jsonl").read_bytes().count(b"\n")
    leave(service)
    assert service.returncode == 0


@pytest.mark.slow
def test_a_run_that_nobody_recorded_here_is_left_running(place: Place) -> None:
    """A file without a recorder's lock comes from elsewhere, and may go on there."""
    place.write("r", 1, 5)
    service = place.follow()
    until(lambda: place.rows() == {"r": 5})
    time.sleep(2)
    leave(service)
    assert place.only_run().status is None


@pytest.mark.slow
def test_json_is_one_object_per_file_at_the_end(place: Place) -> None:
    """For programs that start and stop services."""
    place.write("a", 1, 2)
    place.write("b", 1, 3)
    service = place.follow("--json")
    until(lambda: place.rows() == {"a": 2, "b": 3})
    out, _ = leave(service)
    assert [json.loads(line)["sent"] for line in out.splitlines()] == [2, 3]


@pytest.mark.slow
def test_a_replaced_journal_is_said_once_and_stops_no_other(place: Place) -> None:
    """It is exit code 1 at the end, as for a command that is done at once."""
    place.write("a", 1, 5)
    place.write("b", 1, 5)
    service = place.follow()
    until(lambda: place.rows() == {"a": 5, "b": 5})
    (place.runs / "a.jsonl").write_bytes(b"".join(samples.steps("a", 2, 9)))
    time.sleep(1)
    place.write("b", 6, 6)
    until(lambda: place.rows() == {"a": 5, "b": 6})
    _, err = leave(service)
    assert service.returncode == 1
    assert err.count("--from-start") == 2


@pytest.mark.parametrize("other", ["--from-start", "--status", "--dry-run"])
def test_a_service_neither_starts_over_nor_only_looks(tmp_path: Path, other: str) -> None:
    """Each time that it is restarted, everything would be sent again."""
    arguments = ["sync", str(tmp_path), "--to", SINK, "--tracking-uri", str(tmp_path), "--follow", other]
    assert click.testing.CliRunner().invoke(group, arguments).exit_code == 2
