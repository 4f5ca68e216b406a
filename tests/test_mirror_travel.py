"""The journal as a file on its tracked run."""

import gzip
import re
import subprocess
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from gradience.errors import TelemetryError
from gradience.mirror import travel
from gradience.mirror.history import History
from gradience.mirror.sink import Batch, Position
from gradience.testing import samples

START = samples.line("r", "run_start", config={})
STEP = samples.line("r", "train_step", step=1, loss=1.0)
END = samples.line("r", "run_end", status="ok")
AUDIT = samples.line("r", "metrics", step=1, kind="lora_audit", metrics={"x": 1.0})
OTHER = samples.line("s", "run_start", config={})


def batch(lines: Sequence[bytes], first: int, last: int) -> Batch:
    """The lines from `first` to `last`, which are all of one run."""
    records, history = samples.records(lines), History()
    for record in records[: first - 1]:
        history = history.after(record)
    return Batch(records=tuple(records[first - 1 : last]), position=Position(last, "f"), ended=history.ended)


@pytest.mark.parametrize(
    ("lines", "first", "last", "due"),
    [
        pytest.param([START, STEP, END], 1, 3, True, id="its end is delivered"),
        pytest.param([START, STEP, END], 1, 2, False, id="it is not over"),
        pytest.param([START, END, AUDIT], 3, 3, True, id="an audit comes later"),
        pytest.param([START, END, AUDIT], 1, 2, False, id="an audit is to come in the next batch"),
        pytest.param([START, END, OTHER], 1, 2, True, id="another run begins in its file"),
        pytest.param([START, END, b"no telemetry\n"], 1, 2, True, id="what follows is no telemetry"),
        pytest.param([START, END, b'{"torn'], 1, 2, True, id="what follows is no line"),
        pytest.param([START, END, START, STEP], 3, 4, False, id="it was resumed"),
        pytest.param([START, END, STEP, AUDIT], 3, 4, False, id="training went on after its end"),
        pytest.param([START, STEP, AUDIT], 1, 3, False, id="it was killed"),
        pytest.param([START, STEP, AUDIT], 3, 3, False, id="it was killed, and audited later"),
        pytest.param([START, END, START], 1, 3, False, id="it is being resumed"),
    ],
)
def test_the_journal_travels_when_its_run_is_over(
    tmp_path: Path, lines: list[bytes], first: int, last: int, due: bool
) -> None:
    """Once per stop of the run and not for each batch: a long journal is not sent over and over."""
    path = samples.write(tmp_path / "run.jsonl", lines)
    assert travel.is_due(batch([line for line in lines if b"schema" in line], first, last), path) is due


def test_a_journal_that_is_gone_is_due_all_the_same(tmp_path: Path) -> None:
    """Packing it says what is wrong, once its run is over; else nobody would hear of it."""
    assert travel.is_due(batch([START, STEP, END], 1, 3), tmp_path / "gone.jsonl")


def test_a_copy_holds_what_was_delivered_and_nothing_else(tmp_path: Path) -> None:
    """Whole lines, as they stand, with what is no telemetry between them; `gunzip` gives them back."""
    lines = [START, b"\0\0torn\n", STEP, END]
    path = samples.write(tmp_path / "run.jsonl", [*lines, AUDIT])
    packed = tmp_path / "copy.jsonl.gz"
    travel.pack(path, sum(map(len, lines)), packed)
    subprocess.run(["gunzip", str(packed)], check=True)
    assert (tmp_path / "copy.jsonl").read_bytes() == b"".join(lines)


def test_the_same_lines_make_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the time, the name and the state of the file."""
    first = samples.write(tmp_path / "a.jsonl", [START, END])
    second = samples.write(tmp_path / "b.jsonl", [START, END, AUDIT])
    third = tmp_path / "c.jsonl.gz"
    third.write_bytes(gzip.compress(first.read_bytes(), mtime=7))
    copies = []
    for path in (first, second, third):
        packed = path.with_suffix(".packed")
        travel.pack(path, len(START + END), packed)
        copies.append(packed.read_bytes())
    assert len(set(copies)) == 1
    assert copies[0][3:8] == bytes(5)  # of gzip: neither a name nor a time


def test_packing_takes_little_memory(tmp_path: Path) -> None:
    """Whatever the journal's length."""
    path = samples.write(tmp_path / "run.jsonl", [STEP] * 100_000)
    tracemalloc.start()
    try:
        travel.pack(path, path.stat().st_size, tmp_path / "packed")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_what_cannot_be_packed_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is gone, cut or too large, and a place that takes no file."""
    path, packed = samples.write(tmp_path / "run.jsonl", [START, END]), tmp_path / "packed"
    with pytest.raises(TelemetryError, match="shorter than what was delivered"):
        travel.pack(path, 10_000, packed)
    with pytest.raises(TelemetryError, match="no such telemetry file"):
        travel.pack(tmp_path / "missing", 10, packed)
    with pytest.raises(TelemetryError, match=r"run.jsonl is not uploaded: No such file or directory"):
        travel.pack(path, 10, tmp_path / "missing" / "packed")
    monkeypatch.setattr(travel, "LARGEST", 20)
    with pytest.raises(TelemetryError, match="30 bytes of lines are over the limit of 20"):
        travel.pack(path, 30, packed)


def test_a_journal_keeps_its_name() -> None:
    """The one that it is known by, compressed or not."""
    names = {travel.name(Path("/runs") / own) for own in ("run.jsonl", "run.jsonl.gz")}
    assert names == {"telemetry/run.jsonl.gz"}


def test_a_name_is_safe_in_every_store() -> None:
    """It stays in its folder and in plain ASCII, and a mark keeps two apart that would look alike."""
    own = ["a run: 7.jsonl", "a run? 7.jsonl", "..jsonl", ".jsonl", "übung", "\udcff", "x" * 250, "x" * 251, ".gz"]
    names = [travel.name(Path("/runs") / name) for name in own]
    assert [name for name in names if not re.fullmatch(r"telemetry/[A-Za-z0-9_][A-Za-z0-9_.-]{0,109}\.gz", name)] == []
    assert len(set(names)) == len(own)
