import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gradience.cli.live import picture
from gradience.cli.live.feed import Feed
from gradience.cli.live.picture import Live
from gradience.cli.live.ticker import Ticker
from gradience.cli.main import group
from gradience.cli.recorded import Asked
from gradience.errors import TelemetryError
from gradience.mirror.fleet.standing import Standing
from gradience.mirror.sink import Tracked
from gradience.policy.replay import Mark
from gradience.vnext.signals import SignalSnapshot
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import ConfigSnapshot, EvalMetrics, Severity, TrainingConfigSnapshot

RECORDER = """
import sys, time
from gradience.vnext.telemetry import TelemetryWriter
path, first, last, pause = sys.argv[1], *map(float, sys.argv[2:])
with TelemetryWriter(path) as writer:
    writer.run_start({"model_name": "org/tiny", "training": {"max_steps": 40}})
    for step in range(int(first), int(last) + 1):
        writer.train_step(step, loss=2 / step, lr=1e-4, grad_norm=0.5)
        if step % 10 == 0:
            writer.eval(step, split="test", metrics={"loss": 3 / step})
        if step == 15:
            writer.alert(severity="warning", code="HOT", message="too hot", step=step)
        time.sleep(pause)
"""
Start = Callable[..., "subprocess.Popen[str]"]


def _write(path: Path, steps: range, *, ends: bool = True, run_id: str | None = None) -> None:
    writer = TelemetryWriter(path, run_id=run_id)
    writer.run_start(ConfigSnapshot(training=TrainingConfigSnapshot(max_steps=10)))
    for step in steps:
        writer.train_step(step, loss=float(step))
    if ends:
        writer.close()
    else:
        writer.replaced()


def _drained(feed: Feed) -> Feed:
    while feed.look():
        pass
    return feed


def _losses(feed: Feed) -> list[float]:
    return [one.end for one in feed.replay.course.curves()["loss"].buckets]


def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """Then read as it grows; a run that ended is over once all of it was read."""
    path = tmp_path / "run.jsonl"
    feed = _drained(Feed(path, Asked()))
    assert not feed.is_there
    _write(path, range(1, 4))
    assert feed.look()
    assert not feed.is_ended()
    assert _drained(feed).is_ended()
    assert _losses(feed) == [1, 2, 3]


def test_a_resume_goes_on(tmp_path: Path) -> None:
    """From the step at which it begins, under the same run."""
    path = tmp_path / "run.jsonl"
    _write(path, range(1, 6), ends=False)
    feed = _drained(Feed(path, Asked()))
    assert not feed.is_ended()
    _write(path, range(4, 7))
    assert _losses(_drained(feed)) == [1, 2, 3, 4, 5, 6]
    assert (feed.seen().starts, feed.is_ended()) == (2, True)


def test_another_run_in_the_file_is_watched_instead(tmp_path: Path) -> None:
    """It is the one that is going on."""
    path = tmp_path / "run.jsonl"
    _write(path, range(1, 4))
    feed = _drained(Feed(path, Asked()))
    _write(path, range(7, 9), ends=False)
    assert _losses(_drained(feed)) == [7, 8]
    assert not feed.is_ended()


def test_another_file_in_its_place_begins_anew(tmp_path: Path) -> None:
    """Whether it was deleted first, moved over it, or cut."""
    path, other = tmp_path / "run.jsonl", tmp_path / "other.jsonl"
    _write(path, range(1, 4), ends=False)
    feed = _drained(Feed(path, Asked()))
    _write(other, range(5, 7), ends=False)
    other.replace(path)
    _drained(feed)
    assert (feed.replaced, _losses(_drained(feed))) == (1, [5, 6])
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    _drained(feed)
    assert (feed.replaced, _drained(feed).seen().counts) == (2, {"run_start": 1})
    path.unlink()
    assert (feed.look(), feed.is_there) == ([], False)


@pytest.mark.parametrize("content", [b"not telemetry\n", None])
def test_what_will_never_be_telemetry_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Rather than watched for ever."""
    path = tmp_path / "x.jsonl"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(TelemetryError):
        _drained(Feed(path, Asked()))


def _live(**fields: object) -> Live:
    config = ConfigSnapshot(model_name="org/tiny", training=TrainingConfigSnapshot(max_steps=100))
    seen = SignalSnapshot(run_id="a", last_step=25, counts={"train_step": 25}, config=config)
    return Live(**{"file": "run.jsonl", "seen": seen, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "running"),
        ({"silent_s": 45.0}, "nothing has been written for 45.0 s"),
        ({"silent_s": 45.0, "gap_s": 30.0}, "running"),
        ({"silent_s": 45.0, "is_abandoned": True}, "nothing has been written for 45.0 s: the recorder is gone"),
        ({"silent_s": 1.0, "is_abandoned": True}, "running"),
        ({"is_there": False}, "the file is not there yet: waiting for it"),
    ],
)
def test_a_silence_is_told(fields: dict[str, object], text: str) -> None:
    """Where it is longer than usual, and whether anybody is left to break it."""
    assert picture.state(_live(**fields)).startswith(text)


@pytest.mark.parametrize("width", [10, 30, 79, 200])
def test_a_picture_fits_its_terminal(width: int) -> None:
    """However narrow; what steers a terminal is text."""
    marks = [Mark(step=step, severity=Severity.ERROR, code="x\x1b[2J", message="y" * 300) for step in range(20)]
    lines = picture.lines(_live(marks=marks, steps_per_s=2.5, left_s=30.0), width)
    assert max(len(line.text) for line in lines) <= width
    assert not [line for line in lines if "\x1b" in line.text]


def test_progress_is_told_against_the_plan() -> None:
    """With the pace and the time that is left, where they are known."""
    assert picture.progress(_live(steps_per_s=2.5, left_s=30.0)) == "step 25 of 100, 2.5 steps/s, 30.0 s left"
    assert picture.progress(_live(seen=SignalSnapshot(last_step=3))) == "step 3"


def test_a_tracker_that_lags_is_told() -> None:
    """With its run's address, and what went wrong last."""
    tracked = {"a": Tracked(id="1", url="http://mlflow/1")}
    sinks = [
        Standing(journal="x", sink="mlflow", target="t", behind=12, lag_s=90.0, runs=tracked, error="refused"),
        Standing(journal="x", sink="wandb", target="t", runs={}),
    ]
    told = [line.text.strip() for line in picture.lines(_live(standings=sinks), 100)]
    assert "mlflow    12 lines behind, 90.0 s  http://mlflow/1  refused" in told
    assert "wandb     up to date" in told


def test_lines_tell_each_thing_once() -> None:
    """What was there before it was watched is summed up; then evaluations, alerts and changes, as they come."""
    said: list[str] = []
    ticker = Ticker(interval_s=0, say=said.append)
    config = ConfigSnapshot(training=TrainingConfigSnapshot(max_steps=9))
    seen = SignalSnapshot(run_id="a", counts={"x": 1}, config=config, evals={"val": EvalMetrics(loss=1.0, step=2)})
    mark = Mark(step=3, severity=Severity.ERROR, code="HOT", message="too hot")
    ticker.show(_live(seen=SignalSnapshot(), is_there=False), [])
    ticker.show(_live(seen=seen, is_caught_up=False), ["val"])
    ticker.show(_live(seen=seen, marks=[mark]), ["val"])
    ticker.show(_live(seen=seen, marks=[mark], silent_s=60.0), [])
    ticker.show(_live(seen=seen, marks=[mark], silent_s=61.0), ["val"])
    assert said == [
        "the file is not there yet: waiting for it",
        "run a  run.jsonl",
        "error HOT at step 3: too hot",
        "eval val loss 1 at step 2",
        "running",
        "nothing has been written for 60.0 s",
        "eval val loss 1 at step 2",
    ]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that is ended with the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **options: object) -> "subprocess.Popen[str]":
        command = [sys.executable, *map(str, arguments)]
        begun.append(subprocess.Popen(command, text=True, **options))  # type: ignore[call-overload]
        return begun[-1]

    yield start
    for process in reversed(begun):
        process.kill()
        process.wait()


def _follow(start: Start, path: Path, *more: object, **options: object) -> "subprocess.Popen[str]":
    return start("-m", "gradience", "monitor", "--follow", path, *more, **options)


@pytest.mark.slow
def test_a_run_is_watched_to_its_end(tmp_path: Path, start: Start) -> None:
    """A killed recorder is told, its resume goes on, and the end has the exit code of the run that is over."""
    path = tmp_path / "run.jsonl"
    watcher = _follow(
        start, path, "--interval", "0", "--fail-on", "HOT", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert watcher.stdout
    assert watcher.stdout.readline() == "the file is not there yet: waiting for it\n"
    recorder = start("-c", RECORDER, path, 1, 10_000, 0.05)
    told = ""
    while "HOT" not in told:
        told += watcher.stdout.readline()
    recorder.kill()
    recorder.wait()
    os.utime(path, (time.time() - 60, time.time() - 60))
    while "the recorder is gone, and wrote no end" not in told:
        told += watcher.stdout.readline()
    start("-c", RECORDER, path, 12, 40, 0.01)
    rest, errors = watcher.communicate(timeout=60)
    assert "eval test loss 0.3 at step 10\n" in told
    assert "ended: ok\n" in rest
    assert "status      ok, step 40 of 40, started 2 times" in rest
    assert (watcher.returncode, errors) == (3, "--fail-on HOT: HOT\n")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")
def test_a_terminal_is_drawn_on_and_left_as_it_was(tmp_path: Path, start: Start) -> None:
    """A screen of its own that follows the terminal's size; Ctrl-C leaves it, and the run goes on."""
    import fcntl
    import pty
    import termios

    def resize(rows: int, columns: int) -> None:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def seen_until(wanted: str) -> str:
        seen, until = "", time.monotonic() + 60
        while wanted not in seen and time.monotonic() < until:
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 1 << 16).decode("utf-8", "replace")
        assert wanted in seen
        return seen

    path = tmp_path / "run.jsonl"
    recorder = start("-c", RECORDER, path, 1, 10_000, 0.02)
    ours, theirs = pty.openpty()
    resize(24, 100)
    terminal = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    watcher = _follow(start, path, **terminal, env={**inherited, "TERM": "xterm-256color"})
    first = seen_until("alert     warning HOT at step 15: too hot")
    assert "\x1b[?1049h" in first
    assert "[########" in first
    resize(8, 40)
    narrow = seen_until("[########] step").rpartition("\x1b[H")[2]
    watcher.send_signal(signal.SIGINT)
    last = seen_until("\x1b[?1049l")
    assert watcher.wait(30) == 130
    assert "Traceback" not in last
    assert recorder.poll() is None
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in narrow.splitlines()]
    assert max(map(len, shown)) <= 40
    os.close(ours)
    os.close(theirs)


def test_what_cannot_be_watched_is_a_mistake_of_usage(tmp_path: Path) -> None:
    """Several files, a directory, stdin."""
    for places in (["-"], [str(tmp_path)], ["a.jsonl", "b.jsonl"]):
        assert CliRunner().invoke(group, ["monitor", "--follow", *places]).exit_code == 2


def test_a_run_that_ended_is_summed_up_at_once(tmp_path: Path) -> None:
    """With one document where that is asked for, and lines elsewhere."""
    _write(tmp_path / "run.jsonl", range(1, 4))
    result = CliRunner().invoke(group, ["monitor", "--follow", "--json", str(tmp_path / "run.jsonl")])
    assert json.loads(result.stdout)["signals"]["last_step"] == 3
    assert "ended: ok" in result.stderr
