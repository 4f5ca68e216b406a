"""Which runs a file holds."""

import os
from pathlib import Path

import pytest

from gradience.errors import TelemetryError
from gradience.vnext import codec, runs
from gradience.vnext.types import SCHEMA


def line(event: str, run_id: str, **payload: object) -> bytes:
    """One line of our own."""
    return codec.encode({"schema": SCHEMA, "ts": 1.0, "run_id": run_id, "event": event, "step": None, **payload})


def test_the_last_run_is_the_one_that_started_last(tmp_path: Path) -> None:
    """Whatever was appended to others after that; a start undoes an end."""
    path = tmp_path / "r"
    path.write_bytes(
        line("run_start", "a", config={})
        + line("run_end", "a", status="ok")
        + line("run_start", "b", config={})
        + line("run_end", "b", status="ok")
        + line("run_start", "b", config={})
        + line("metrics", "a", kind="k", metrics={"text": "run_start"})
        + b'{"schema": "torn "run_start"\n'
    )
    assert runs.last(path) == runs.LastRun("b", 3)
    assert [runs.status(path, run) for run in ("a", "b", "c")] == ["ok", None, None]


def test_without_a_start_the_last_event_tells(tmp_path: Path) -> None:
    """Some write only what they measure; an empty file holds no run."""
    path = tmp_path / "r"
    path.write_bytes(line("train_step", "a") + line("train_step", "b") + b"garbage\n")
    assert runs.last(path) == runs.LastRun("b", 0)
    path.write_bytes(b"")
    assert runs.last(path) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", bytes(100), b'{"sch', b'\xef\xbb\xbf{"schema": "gradi', b"garbage\n" + line("train_step", "a")],
)
def test_damaged_and_new_telemetry_may_be_appended_to(tmp_path: Path, content: bytes) -> None:
    """A crash during the first line does not make the file somebody else's."""
    (tmp_path / "r").write_bytes(content)
    runs.check(tmp_path / "r")


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"# notes", b'{"a": 1}\n', b"[1]\n", b"\x1f\x8b" + bytes(20)])
def test_anything_else_may_not(tmp_path: Path, content: bytes) -> None:
    """Nor an archive, which cannot be appended to."""
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(TelemetryError, match=r"cannot append to .*/r: it is"):
        runs.check(tmp_path / "r")


def test_what_never_ends_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe that nobody writes to, a device of endless zeros, a directory."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(TelemetryError, match="it is not a regular file"):
            runs.check(path)
