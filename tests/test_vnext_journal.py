"""Reading the lines of a file."""

import gzip
import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.errors import TelemetryError
from gradience.vnext import journal


def test_every_line_has_its_number_and_its_end(tmp_path: Path) -> None:
    """Reading on from a line's end gives the next line under the next number."""
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"one\n\nthree\n")
    lines = list(journal.read(path))
    assert [(line.number, line.end, line.raw) for line in lines] == [
        (1, 4, b"one\n"),
        (2, 5, b"\n"),
        (3, 11, b"three\n"),
    ]
    assert list(journal.read(path, start=lines[1].end, line=lines[1].number)) == lines[2:]


def test_a_line_counts_when_its_newline_is_there(tmp_path: Path) -> None:
    """The tail of a live file is counted, not read; the next reading gets it whole."""
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"one\ntw")
    scan = journal.Scan(path)
    assert [line.raw for line in scan] == [b"one\n"]
    assert (scan.line, scan.end, scan.tail) == (1, 4, 2)
    path.write_bytes(b"one\ntwo\n")
    assert [line.raw for line in journal.read(path, start=scan.end, line=scan.line)] == [b"two\n"]


@given(st.lists(st.integers(0, 300_000), max_size=6), st.integers(0, 100_000))
def test_lines_of_any_length_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], tail: int
) -> None:
    """Where the chunks of reading fall does not matter."""
    path = tmp_path_factory.mktemp("any") / "run.jsonl"
    written = [b"x" * size + b"\n" for size in sizes]
    path.write_bytes(b"".join(written) + b"y" * tail)
    scan = journal.Scan(path)
    lines = list(scan)
    assert [line.raw for line in lines] == written
    assert [line.skipped for line in lines] == [0] * len(sizes)
    assert (scan.end, scan.tail) == (sum(map(len, written)), tail)


def test_gzip_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    """Whatever the name says; a damaged archive gives what it can and says why it ended."""
    path = tmp_path / "run.jsonl"
    whole = gzip.compress(b"one\n" * 100_000)
    path.write_bytes(whole)
    assert sum(1 for _ in journal.read(path)) == 100_000
    assert [line.number for line in journal.read(path, start=399_996, line=99_999)] == [100_000]
    path.write_bytes(whole[: len(whole) // 2])
    scan = journal.Scan(path)
    assert sum(1 for _ in scan) > 0
    assert scan.fault
    assert "damaged" in scan.fault


def test_a_dash_is_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain or compressed; and stdin stays open."""
    for data in (b"one\ntwo\n", gzip.compress(b"one\ntwo\n")):
        stdin = io.BytesIO(data)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
        assert [line.raw for line in journal.read("-")] == [b"one\n", b"two\n"]
        assert not stdin.closed


def test_a_line_over_the_limit_is_left_out_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head stays, the lines around it are read, the offsets are right."""
    monkeypatch.setattr(journal, "LINE_LIMIT", 200_000)
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"one\n" + b"x" * 1_000_000 + b"\ntwo\n")
    one, long, two = journal.read(path)
    assert (one.raw, two.raw, two.number, two.end) == (b"one\n", b"two\n", 3, 1_000_009)
    assert len(long.raw) + long.skipped == 1_000_001
    assert len(long.raw) < 1000


def test_a_block_of_nuls_does_not_hide_the_line_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash of the machine can leave a hole that is longer than any line."""
    monkeypatch.setattr(journal, "LINE_LIMIT", 200_000)
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"one\n" + bytes(1_000_000) + b"two\n")
    _, two = journal.read(path)
    assert (two.raw, two.end, two.skipped + len(two.raw)) == (b"two\n", 1_000_008, 1_000_004)


@pytest.mark.parametrize(
    ("name", "message"), [("missing", "no such telemetry file: .*missing"), (".", "is a directory")]
)
def test_what_cannot_be_read_is_said_in_a_line(tmp_path: Path, name: str, message: str) -> None:
    """Missing files and directories are input errors."""
    with pytest.raises(TelemetryError, match=message):
        list(journal.read(tmp_path / name))
