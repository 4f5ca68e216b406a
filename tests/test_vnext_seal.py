"""The seal that `run_end` puts on a journal."""

import gzip
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gradience.vnext import codec, seal
from gradience.vnext.appender import append_events
from gradience.vnext.signals import SealSeen
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import RunEnd, Seal

AUDIT = {"event": "metrics", "step": 1, "kind": "lora_audit", "metrics": {"x": 1.0}}


def record(path: Path, steps: int = 3, **options: Any) -> Path:
    """A run that ends well."""
    with TelemetryWriter(path, **options) as writer:
        writer.run_start({})
        for step in range(steps):
            writer.train_step(step, loss=1.0)
    return path


def seals(path: Path) -> list[Seal | None]:
    """Of each end in the file."""
    events = [
        codec.decode(line) for line in path.read_bytes().splitlines() if line.startswith(b"{") and line[-1:] == b"}"
    ]
    return [event.seal for event in events if isinstance(event, RunEnd)]


def by_hand(path: Path, lines: int) -> str:
    """What standard tools say."""
    done = subprocess.run(f"head -n {lines} '{path}' | sha256sum", shell=True, capture_output=True, check=True)  # noqa: S602
    return done.stdout.decode().split()[0]


def test_the_end_seals_every_byte_before_it(tmp_path: Path) -> None:
    """`head -n N | sha256sum` verifies it, and N is the number of lines before the end."""
    path = record(tmp_path / "run.jsonl")
    assert seals(path) == [Seal(lines=4, sha256=by_hand(path, 4))]
    assert len(path.read_bytes().splitlines()) == 5
    assert TelemetryReader(path).seal() == SealSeen(line=5, lines=4, is_intact=True)


@pytest.mark.parametrize("old", [b'"loss":1.0', b'"step":2', b'"run_start"'])
def test_a_change_of_any_line_is_seen(tmp_path: Path, old: bytes) -> None:
    """Whatever it is that was changed."""
    path = record(tmp_path / "run.jsonl")
    path.write_bytes(path.read_bytes().replace(old, old[:-2] + b"7" + old[-1:], 1))
    assert TelemetryReader(path).seal() == SealSeen(line=5, lines=4, is_intact=False)


def test_lines_that_were_taken_away_or_put_before_the_end_are_seen(tmp_path: Path) -> None:
    """The seal knows how many lines it covers."""
    path = record(tmp_path / "run.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in ([*lines[:2], *lines[3:]], [lines[0], *lines], [lines[-1]]):
        path.write_bytes(b"".join(changed))
        seen = TelemetryReader(path).seal()
        assert seen is not None
        assert not seen.is_intact


def test_lines_that_come_after_the_end_change_nothing(tmp_path: Path) -> None:
    """An audit weeks later; nor does another run in the file, whose own end seals all of it."""
    path = record(tmp_path / "run.jsonl", run_id="a")
    append_events(path, None, [AUDIT])
    assert TelemetryReader(path).seal() == SealSeen(line=5, lines=4, is_intact=True)
    record(path, run_id="b")
    assert TelemetryReader(path).seal() == SealSeen(line=11, lines=10, is_intact=True)
    assert TelemetryReader(path, run_id="a").seal() == SealSeen(line=5, lines=4, is_intact=True)


def test_a_compressed_copy_is_judged_by_what_it_holds(tmp_path: Path) -> None:
    """As it came back from a tracker; one that was cut short is not intact."""
    path = record(tmp_path / "run.jsonl", steps=3000)
    packed = tmp_path / "run.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert TelemetryReader(packed).seal() == SealSeen(line=3002, lines=3001, is_intact=True)
    (sealed,) = seals(path)
    packed.write_bytes(gzip.compress(path.read_bytes())[:-500])
    assert sealed is not None
    assert not seal.holds(packed, sealed)


def test_a_run_that_goes_on_is_sealed_again(tmp_path: Path) -> None:
    """A second end, and that of a resumed run, cover the first; between them there is none to check."""
    path = tmp_path / "run.jsonl"
    with TelemetryWriter(path, run_id="a") as writer:
        writer.run_start({})
        writer.run_end("error")
        writer.run_end("error")
    with TelemetryWriter(path) as writer:
        writer.run_start({})
        assert TelemetryReader(path).seal() is None
    assert [(sealed.lines, sealed.sha256) for sealed in seals(path) if sealed] == [
        (lines, by_hand(path, lines)) for lines in (1, 2, 4)
    ]


def test_a_torn_line_is_sealed_as_it_stands(tmp_path: Path) -> None:
    """Before the lines of the run that goes on; one that nothing has closed yet stays outside."""
    path = tmp_path / "run.jsonl"
    record(path)
    with path.open("ab") as file:
        file.write(b'{"schema":"gra')
    record(path)
    with path.open("ab") as file:
        file.write(b'{"schema":"gra')
    with TelemetryWriter(path, resume=True) as writer:
        writer.run_end()
    assert [sealed.lines for sealed in seals(path) if sealed] == [4, 10, 11]
    assert TelemetryReader(path).seal() == SealSeen(line=13, lines=11, is_intact=True)


@pytest.mark.parametrize("edited", [False, True])
def test_a_file_that_was_replaced_is_sealed_as_it_is_under_its_name(tmp_path: Path, edited: bool) -> None:
    """The recorder goes over to it before it seals, so that the edit of a person is part of what is sealed."""
    path, draft = tmp_path / "run.jsonl", tmp_path / "draft"
    with TelemetryWriter(path) as writer:
        writer.run_start({})
        writer.train_step(1, loss=1.0)
        shutil.copyfile(path, draft)
        if edited:
            draft.write_bytes(draft.read_bytes().replace(b"1.0", b"2.0"))
        draft.replace(path)
    seen = TelemetryReader(path).seal()
    assert seen is not None
    assert seen.is_intact


def test_others_may_append_while_the_end_is_written(tmp_path: Path) -> None:
    """What comes between seal and end is not covered, and the seal holds for the lines that it names."""
    path = record(tmp_path / "run.jsonl", run_id="a")
    stop = threading.Event()

    def audit() -> None:
        while not stop.is_set():
            append_events(path, "a", [AUDIT])

    other = threading.Thread(target=audit)
    other.start()
    try:
        with TelemetryWriter(path, run_id="b") as writer:
            for _ in range(50):
                writer.run_end()
    finally:
        stop.set()
        other.join()
    found = seals(path)
    assert len(found) == 51
    assert all(sealed and seal.holds(path, sealed) for sealed in found)


def test_what_cannot_be_read_back_has_no_seal(tmp_path: Path) -> None:
    """Not a pipe, whose reader would wait for ever, nor a file that takes too long: the end is written all the same."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = (
        "import sys; from gradience.vnext.telemetry import TelemetryWriter\n"
        "with TelemetryWriter(sys.argv[1], strict=True) as writer: writer.run_start({})"
    )
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    subprocess.run([sys.executable, "-c", script, str(pipe)], check=True, timeout=60)
    lines = os.read(reader, 10_000).splitlines()
    os.close(reader)
    event = codec.decode(lines[-1])
    assert (type(event), len(lines)) == (RunEnd, 2)
    assert b"seal" not in lines[-1]


def test_sealing_takes_no_longer_than_its_limit() -> None:
    """A disk that does not answer holds the end of a training up for so long."""
    with pytest.raises(TimeoutError):
        seal.take([b"{}\n", b"{}\n"], limit_s=-1.0)


def test_a_seal_that_cannot_be_had_is_no_fault_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost and nothing raised, under `strict` neither."""

    def refuse(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(seal, "take", refuse)
    path = record(tmp_path / "run.jsonl", strict=True)
    assert seals(path) == [None]
    assert TelemetryReader(path).summarize().status == "ok"
    assert TelemetryReader(path).seal() is None


@pytest.mark.parametrize("odd", ["x", {"lines": -1, "sha256": "0"}, {"lines": 4}, [], None])
def test_a_seal_of_another_shape_costs_the_end_nothing(odd: Any) -> None:
    """It is told, and the run has ended."""
    line = codec.encode(
        {"schema": "gradience.vnext.telemetry/v1", "ts": 1.0, "run_id": "r", "event": "run_end", "step": None}
        | {"status": "ok", "seal": odd}
    )
    problems: list[str] = []
    event = codec.decode(line, problems)
    assert isinstance(event, RunEnd)
    assert (event.status, event.seal, bool(problems)) == ("ok", None, odd is not None)


@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
def test_pieces_of_any_size_make_the_same_seal(piece: int) -> None:
    """Cut anywhere: of all lines, of the first, of none, and of more than there are."""
    text = b'{"a":1}\n\n\0\0{"b":2}\r\n{"torn"'
    pieces = [text[start : start + piece] for start in range(0, len(text), piece)]
    whole = seal.take([text])
    assert whole.lines == 3
    assert seal.take(pieces) == whole
    assert seal.take(()) == Seal(lines=0, sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
