"""A recorder and its side-car as real processes, with a tracker in a folder between them and the test."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gradience.mirror.cursor import CursorFile, Delivery
from gradience.mirror.live import recording
from gradience.mirror.live.spec import Terms
from gradience.mirror.sync import sync
from gradience.testing.folder import RUNNING, FolderRun, FolderSink, runs
from gradience.vnext import lock
from gradience.vnext.appender import append_events
from gradience.vnext.telemetry import TelemetryWriter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="side-cars are refused there"),
]

NAME = "gradience.testing.folder:FolderSink"
TERMS = Terms(poll_s=0.1, grace_s=0.5, linger_s=3.0, leave_s=5.0, call_s=2.0)
TRAINER = """
import os, sys, time
from gradience.mirror.live import recording
from gradience.mirror.live.spec import Terms
from gradience.vnext.telemetry import TelemetryWriter
recording.TERMS = Terms(poll_s=0.1, grace_s=0.5, linger_s=5.0)
writer = TelemetryWriter(sys.argv[1], sinks=[{"type": "gradience.testing.folder:FolderSink", "root": sys.argv[2]}])
writer.run_start({"model_name": "m"})
if "fork" in sys.argv and os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(600)
for step in range(10**6):
    writer.train_step(step, loss=1.0)
    time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "TERMS", TERMS)


class Place:
    """A journal, and the tracker that it is mirrored to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "run.jsonl"
        self.root = folder / "tracker"
        self.root.mkdir()
        self._trainers: list[subprocess.Popen[str]] = []

    def writer(self, close_timeout_s: float = 20.0, **entry: Any) -> TelemetryWriter:
        """A recorder in this process with a side-car."""
        sink = {"type": NAME, "root": str(self.root), **entry}
        return TelemetryWriter(self.path, sinks=[sink], close_timeout_s=close_timeout_s)

    def trainer(self, *flags: str) -> subprocess.Popen[str]:
        """A process that records a step every ten milliseconds, once its first line has reached the tracker."""
        before = self.lines()
        trainer = subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(self.path), str(self.root), *flags], stdout=subprocess.PIPE, text=True
        )
        self._trainers.append(trainer)
        until(lambda: self.lines() > before)
        return trainer

    def fault(self, kind: str | None) -> None:
        """How the tracker answers from now on."""
        if kind is None:
            (self.root / "fault").unlink()
        else:
            (self.root / "fault").write_text(kind)

    @property
    def run(self) -> FolderRun:
        """The one tracked run."""
        (found,) = runs(self.root).values()
        return found

    def lines(self) -> int:
        """How many lines the tracker holds."""
        return sum(len(run.rows) for run in runs(self.root).values())

    @property
    def store(self) -> CursorFile:
        """Where the cursor is kept."""
        return CursorFile(self.path, "folder", str(self.root))

    def is_whole(self) -> bool:
        """Whether the tracker holds every line of the journal, as it stands there."""
        text = self.path.read_text()
        return list(self.run.rows.items()) == list(enumerate(text.splitlines(keepends=True), start=1))

    def sidecar(self) -> int:
        """The pid of the process that delivered last."""
        return self.run.deliveries[-1].pid

    def log(self) -> str:
        """What side-cars said."""
        return self.store.path.with_suffix(".log").read_text()

    def end(self) -> None:
        """End what still runs."""
        for trainer in self._trainers:
            trainer.kill()
            trainer.wait()
            if trainer.stdout is not None:
                trainer.stdout.close()
        for run in runs(self.root).values():
            for pid in {delivered.pid for delivered in run.deliveries} - {os.getpid()}:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.end()


def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that must come."""
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_lines_arrive_while_the_run_is_recorded(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The tracker lags behind by a moment, the log says where the run is, and the end leaves no process behind."""
    caplog.set_level(logging.INFO, "gradience.mirror")
    with place.writer() as writer:
        writer.run_start({"model_name": "m"})
        until(lambda: place.lines() == 1)
        writer.train_step(1, loss=2.0)
        until(lambda: place.lines() == 2)
        until(lambda: "folder: this run is at file://" in caplog.text)
        pid = place.sidecar()
    assert place.is_whole()
    assert place.run.status == "ok"
    assert not is_running(pid)
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_a_file_that_is_deleted_while_it_is_mirrored_arrives_whole(place: Place) -> None:
    """The recorder puts it back, and the side-car, which waits for that, goes on where it was."""
    trainer = place.trainer()
    pid = place.sidecar()
    place.path.unlink()
    before = place.lines()
    until(lambda: place.lines() > before + 200)
    trainer.kill()
    trainer.wait()
    until(lambda: place.run.status == "error")
    assert place.is_whole()
    assert {delivered.pid for delivered in place.run.deliveries} == {pid}


def test_nothing_starts_before_the_first_event(place: Place) -> None:
    """A recorder that records nothing costs no process and leaves no cursor."""
    place.writer().close()
    assert not place.store.path.with_suffix(".log").exists()


def test_a_killed_trainer_leaves_a_failed_run_with_every_line(place: Place) -> None:
    """The side-car delivers the rest, says that the run failed, and goes."""
    trainer = place.trainer()
    pid = place.sidecar()
    trainer.kill()
    trainer.wait()
    until(lambda: place.run.status == "error")
    assert place.is_whole()
    until(lambda: not is_running(pid))


def test_a_forked_worker_does_not_keep_a_killed_run_alive(place: Place) -> None:
    """Data-loader workers inherit every descriptor of the trainer and outlive it."""
    trainer = place.trainer("fork")
    assert trainer.stdout is not None
    worker = int(trainer.stdout.readline())
    try:
        trainer.kill()
        trainer.wait()
        until(lambda: place.run.status == "error")
        assert is_running(worker)
        assert place.is_whole()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_resumed_run_is_running_again(place: Place) -> None:
    """The same tracked run, with the lines of both attempts, and the end of the second."""
    trainer = place.trainer()
    trainer.kill()
    trainer.wait()
    until(lambda: place.run.status == "error")
    with place.writer() as writer:
        writer.run_start({"model_name": "m"})
        until(lambda: place.run.status == RUNNING)
    assert place.run.status == "ok"
    assert place.is_whole()


def test_a_trainer_that_is_restarted_at_once_takes_delivery_over(place: Place) -> None:
    """The old side-car makes way for the new one; they never work at once, and no line comes twice."""
    first = place.trainer()
    old = place.sidecar()
    first.kill()
    first.wait()
    second = place.trainer()
    until(lambda: place.sidecar() != old and place.run.status == RUNNING)
    until(lambda: not is_running(old))
    second.kill()
    second.wait()
    until(lambda: place.run.status == "error")
    assert place.is_whole()
    assert len(place.run.deliveries) == len(place.run.rows)


def test_a_dead_sidecar_is_replaced(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A kill -9 of the side-car costs a moment and no line; it is said once."""
    with place.writer() as writer:
        for step in range(3):
            writer.train_step(step, loss=1.0)
            until(lambda: place.lines() == len(place.path.read_text().splitlines()))
            os.kill(place.sidecar(), signal.SIGKILL)
    assert place.is_whole()
    assert len({delivered.pid for delivered in place.run.deliveries}) >= 3
    assert caplog.text.count("is started again") == 1


def test_a_call_that_hangs_is_ended_by_beginning_anew(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The process executes itself again under the same pid, which shows in its log and in the cursor.

    What it was told is handed on whole, also if it is longer than a pipe holds.
    """
    with place.writer(rename={f"train/a metric of a long name {n}": f"metric {n}" for n in range(2000)}) as writer:
        writer.train_step(1, loss=1.0)
        until(lambda: place.lines() == 1)
        pid = place.sidecar()
        place.fault("hang")
        writer.train_step(2, loss=1.0)
        until(lambda: "no answer for 2 s, starting again" in place.log())
        until(lambda: "not delivered, will try again" in caplog.text)
        place.fault(None)
        until(lambda: place.lines() == 2)
        assert place.sidecar() == pid
    assert place.is_whole()


def test_close_returns_in_time_and_says_what_is_behind(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage at the end costs the deadline; the side-car goes on, and delivers when the tracker is back."""
    monkeypatch.setattr(recording, "TERMS", msgspec.structs.replace(TERMS, linger_s=60.0))  # a busy machine is slow
    place.fault("refused")
    writer = place.writer(close_timeout_s=2.0)
    for step in range(5):
        writer.train_step(step, loss=1.0)
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 5.0
    assert "folder is 6 lines behind (connection refused)." in caplog.text
    assert f"catch up with: gradience sync {place.path} --to {NAME}" in caplog.text
    place.fault(None)
    until(lambda: place.lines() == 6)
    assert place.run.status == "ok"


def test_a_sidecar_does_not_linger_for_ever(place: Place) -> None:
    """Without a recorder and without progress it goes after a while; the lines stay for `sync`."""
    place.fault("refused")
    writer = place.writer(close_timeout_s=0.5)
    writer.train_step(1, loss=1.0)
    until(lambda: place.store.load() is not None)
    pid = lock.holder(place.store.lock)
    assert pid is not None
    writer.close()
    until(lambda: not is_running(pid.pid), 15.0)
    assert "leaves: unavailable" in place.log()


def test_what_only_a_person_can_mend_is_said_within_seconds(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A bad login parks the side-car: one line, no restarts, and close does not wait for it."""
    place.fault("gone")
    writer = place.writer()
    writer.train_step(1, loss=1.0)
    until(lambda: "stopped until this is mended: no permission: log in" in caplog.text, 10.0)
    time.sleep(2.0)
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 5.0
    assert caplog.text.count("until this is mended") == 1
    assert place.log().count("delivers") == 1


def test_a_cell_that_runs_again_takes_delivery_over(place: Place) -> None:
    """One drainer at a time, no orphan, one run."""
    first = place.writer()
    first.train_step(1, loss=1.0)
    until(lambda: place.lines() == 1)
    old = place.sidecar()
    with place.writer() as second:
        second.train_step(2, loss=1.0)
        until(lambda: not is_running(old))
        second.train_step(3, loss=1.0)
        until(lambda: place.lines() == 3)
        assert place.sidecar() != old
    assert place.is_whole()
    assert place.run.status == "ok"


def test_sync_beside_a_live_sidecar_waits_for_it(place: Place) -> None:
    """Whoever asks for delivery by hand gets it, from the one that delivers anyway."""
    with place.writer() as writer:
        writer.train_step(1, loss=1.0)
        until(lambda: place.lines() == 1)
        writer.train_step(2, loss=1.0)
        outcome = sync(place.path, FolderSink(root=str(place.root)), deadline_s=20)
        assert (outcome.state, outcome.sent, place.lines()) == (Delivery.UP_TO_DATE, 0, 2)


def test_an_audit_appended_during_training_arrives(place: Place) -> None:
    """The side-car delivers what stands in the file, whoever wrote it."""
    with place.writer() as writer:
        writer.train_step(1, loss=1.0)
        append_events(place.path, None, [{"event": "metrics", "step": 1, "kind": "lora_audit", "metrics": {"x": 1.0}}])
        until(lambda: place.lines() == 2)
    assert place.is_whole()


def test_state_may_be_kept_elsewhere(place: Place, tmp_path: Path) -> None:
    """Recorder and side-car agree on it, and nothing stands beside the journal."""
    sink = {"type": NAME, "root": str(place.root)}
    with TelemetryWriter(place.path, sinks=[sink], state_dir=tmp_path / "state", close_timeout_s=20.0) as writer:
        writer.train_step(1, loss=1.0)
    assert place.is_whole()
    assert {path.name for path in tmp_path.iterdir()} == {"run.jsonl", "tracker", "state"}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_a_sidecar_inherits_what_it_needs_and_nothing_else(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of its own, the recorder's environment, no stdin, and no options on its command line."""
    monkeypatch.setenv("WANDB_PROJECT", "project")
    with place.writer() as writer:
        writer.train_step(1, loss=1.0)
        until(lambda: place.lines() == 1)
        pid = place.sidecar()
        process = Path(f"/proc/{pid}")
        assert b"WANDB_PROJECT=project" in (process / "environ").read_bytes()
        assert str(place.root).encode() not in (process / "cmdline").read_bytes()
        assert (process / "fd/0").readlink() == Path(os.devnull)
        assert os.getsid(pid) == pid
        assert process.joinpath("cwd").readlink() == Path.cwd()


def test_a_module_in_the_working_directory_hides_no_library(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training's folder may hold anything, msgspec.py for one."""
    (place.root.parent / "msgspec.py").write_text("raise RuntimeError('found in the working directory')")
    monkeypatch.chdir(place.root.parent)
    with place.writer() as writer:
        writer.train_step(1, loss=1.0)
        until(lambda: place.lines() == 1)


def test_a_silent_rank_starts_no_sidecar(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 records and delivers for all."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with place.writer() as writer:
        writer.train_step(1, loss=1.0)
    assert list(place.path.parent.iterdir()) == [place.root]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_neither_delivers_nor_ends_the_delivery(place: Place) -> None:
    """A worker that leaves through every exit hook leaves its parent's side-car alone."""
    with place.writer() as writer:
        writer.train_step(1, loss=1.0)
        until(lambda: place.lines() == 1)
        pid = place.sidecar()
        child = os.fork()
        if child == 0:
            writer.train_step(2, loss=1.0)
            writer.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert is_running(pid)
        writer.train_step(3, loss=1.0)
        until(lambda: place.lines() == 2)
    assert place.is_whole()


@pytest.mark.parametrize(("last", "status"), [("run_end('ok')", "ok"), ("train_step(2, loss=1.0)", "error")])
def test_a_trainer_that_forgets_to_close_is_caught_up_at_exit(place: Place, last: str, status: str) -> None:
    """The process waits like `close` does, for a container's sake; without a `run_end` nobody said that all is well."""
    script = (
        "import sys; from gradience.vnext.telemetry import TelemetryWriter\n"
        f"writer = TelemetryWriter(sys.argv[1], sinks=[{{'type': {NAME!r}, 'root': sys.argv[2]}}])\n"
        f"writer.train_step(1, loss=1.0); writer.{last}\n"
    )
    subprocess.run([sys.executable, "-c", script, str(place.path), str(place.root)], check=True, timeout=60)
    assert place.is_whole()
    until(lambda: place.run.status == status)


def test_a_side_car_delivers_as_the_file_says(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the environment names: with a filter, one line at once, and as many variables as it likes."""
    caplog.set_level(logging.INFO, "gradience.mirror")
    file = tmp_path / "sinks.yaml"
    file.write_text(f"- {{type: {NAME}, name: ours, root: '${{ROOT}}', events: [eval], batch_lines: 1}}\n")
    monkeypatch.setenv("ROOT", str(place.root))
    monkeypatch.setenv("GRADIENCE_SINKS", str(file))
    with TelemetryWriter(place.path) as writer:
        writer.train_step(1, loss=1.0)
        writer.eval(1, split="test", metrics={"loss": 1.0})
    events = [msgspec.json.decode(row)["event"] for row in place.run.rows.values()]
    assert events == ["left_out", "eval", "run_end"]
    assert place.sidecar() != os.getpid()
    assert "ours: this run is at file://" in caplog.text
