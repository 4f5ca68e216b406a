"""Appending whole lines."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gradience.errors import TelemetryError
from gradience.vnext import journal
from gradience.vnext.appender import Appender, append_events
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader


def test_a_torn_line_stays_alone(tmp_path: Path) -> None:
    """The first write into an unterminated file begins with a newline; nothing of the file is changed."""
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"whole\ntor")
    appender = Appender(path)
    appender.append(b"one\n")
    appender.append(b"two\n")
    appender.close()
    assert path.read_bytes() == b"whole\ntor\none\ntwo\n"


def test_a_short_write_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is written again, whole, on a line of its own."""
    appender = Appender(tmp_path / "run.jsonl", create=True)
    write, sizes = os.write, iter([2])
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: next(sizes, None)]))
    appender.append(b"whole\n")
    appender.close()
    assert (tmp_path / "run.jsonl").read_bytes() == b"wh\nwhole\n"


def test_what_cannot_be_made_good_is_told_and_does_not_spoil_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes only parts raises; when it has room again, the next line stands alone."""
    appender = Appender(tmp_path / "run.jsonl", create=True)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
        with pytest.raises(OSError, match="only parts"):
            appender.append(b"torn\n")
    appender.append(b"whole\n")
    appender.close()
    assert (tmp_path / "run.jsonl").read_bytes().split(b"\n")[-2:] == [b"whole", b""]


def test_a_missing_file_is_made_only_when_asked(tmp_path: Path) -> None:
    """With its folder, where it is asked."""
    with pytest.raises(TelemetryError, match="no such telemetry file"):
        Appender(tmp_path / "a" / "run.jsonl")
    Appender(tmp_path / "a" / "run.jsonl", create=True).close()
    assert (tmp_path / "a" / "run.jsonl").read_bytes() == b""


def test_several_processes_and_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    """One line is one write: whole lines from everybody."""
    path = tmp_path / "run.jsonl"
    path.touch()
    program = (
        "import sys; from gradience.vnext.appender import Appender\n"
        "a = Appender(sys.argv[1])\n"
        "for _ in range(500): a.append(sys.argv[2].encode() * 500 + b'\\n')"
    )
    others = [subprocess.Popen([sys.executable, "-c", program, str(path), letter]) for letter in "ab"]
    appenders = [Appender(path) for _ in "cd"]

    def work(appender: Appender, letter: bytes) -> None:
        for _ in range(500):
            appender.append(letter * 500 + b"\n")

    threads = [threading.Thread(target=work, args=pair) for pair in zip(appenders, (b"c", b"d"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait(60) for other in others] == [0, 0]
    for appender in appenders:
        appender.close()
    lines = path.read_bytes().splitlines()
    assert sorted(lines) == sorted(letter * 500 for letter in (b"a", b"b", b"c", b"d") for _ in range(500))


def test_events_are_added_to_the_last_run_also_while_it_is_recorded(tmp_path: Path) -> None:
    """An audit appended from outside neither overwrites nor is overwritten."""
    path = tmp_path / "run.jsonl"
    with TelemetryWriter(path) as writer:
        writer.run_start({})
        writer.train_step(1, loss=1.0)
        append_events(path, None, [{"event": "metrics", "step": 1, "kind": "lora_audit", "metrics": {"r": 8}}])
        writer.train_step(2, loss=1.0)
    reader = TelemetryReader(path, strict=True)
    assert [record.event.name for record in reader] == ["run_start", "train_step", "metrics", "train_step", "run_end"]
    assert reader.summarize().lora_audit == {"r": 8}


@pytest.mark.parametrize("content", ["loss,1\n", '{"a": 1}\n', "some text without an end"])
def test_nothing_is_appended_to_what_is_no_telemetry(tmp_path: Path, content: str) -> None:
    """Somebody's data is left as it is."""
    path = tmp_path / "data"
    path.write_text(content)
    with pytest.raises(TelemetryError, match="not a telemetry file"):
        append_events(path, "r", [{"event": "x"}])
    assert path.read_text() == content


def test_an_event_that_is_too_long_appends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All events are encoded before the first is written."""
    path = tmp_path / "run.jsonl"
    path.touch()
    monkeypatch.setattr("gradience.vnext.appender.LINE_LIMIT", 1000)
    with pytest.raises(TelemetryError, match="too long"):
        append_events(path, "r", [{"event": "x"}, {"event": "y", "numbers": list(range(1000))}])
    assert list(journal.read(path)) == []
