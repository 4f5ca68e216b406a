import gzip
from pathlib import Path

import pytest

from gradience.errors import TelemetryError
from gradience.mirror.groups import Group, groups
from gradience.mirror.tail import Tail
from gradience.testing import samples


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return samples.write(tmp_path / "run.jsonl", samples.steps("r", 1, 5))


def passed(path: Path, count: int) -> Tail:
    tail = Tail(path)
    tail.advance(tail.read(count))
    return tail


def test_reading_goes_on_where_lines_were_passed(journal: Path) -> None:
    """Lines come in order, each once, and no more at the end."""
    tail = passed(journal, 2)
    block = tail.read(10)
    assert [line.number for line in block] == [3, 4, 5]
    tail.advance(block)
    assert tail.read(10) == []
    assert tail.offset == journal.stat().st_size


def test_a_line_without_its_newline_is_left_for_later(journal: Path) -> None:
    """What a live recorder is still writing comes with the next read, whole."""
    tail = passed(journal, 5)
    half, rest = (raw := samples.steps("r", 6, 6)[0])[:20], raw[20:]
    samples.write(journal, [half])
    assert tail.read(10) == []
    samples.write(journal, [rest])
    assert [line.raw for line in tail.read(10)] == [raw]


def test_seek_finds_the_place_by_line_and_fingerprint(journal: Path) -> None:
    """The lines on the way are handed out, the next read begins behind them."""
    known = passed(journal, 3).fingerprint
    tail = Tail(journal)
    assert [line.number for line in tail.seek(3, known)] == [1, 2, 3]
    assert tail.read(1)[0].number == 4


@pytest.mark.parametrize("change", [lambda text: text[:-300], lambda text: text.replace(b'"step":2', b'"step":9')])
def test_seek_refuses_a_file_that_is_not_the_one(journal: Path, change: object) -> None:
    """Shorter or different: one line names the way out."""
    known = passed(journal, 5).fingerprint
    assert callable(change)
    journal.write_bytes(change(journal.read_bytes()))
    with pytest.raises(TelemetryError, match="--from-start"):
        list(Tail(journal).seek(5, known))


def test_a_file_cut_while_it_is_followed_is_noticed(journal: Path) -> None:
    """Lines that were delivered are gone: nobody can go on from there."""
    tail = passed(journal, 5)
    journal.write_bytes(journal.read_bytes()[:100])
    with pytest.raises(TelemetryError, match="shorter than what was delivered"):
        tail.read(1)


def test_a_file_cut_and_grown_again_between_two_looks_is_noticed(journal: Path) -> None:
    """Its size tells nothing; the line before the place does, and none of the new lines is handed out."""
    tail = passed(journal, 5)
    size = journal.stat().st_size
    journal.write_bytes(b"".join(samples.steps("r", 101, 120)))
    assert journal.stat().st_size > size
    with pytest.raises(TelemetryError, match="cut and has grown again"):
        tail.read(10)


def test_a_file_replaced_while_it_is_followed_is_noticed(journal: Path) -> None:
    """Another file under the name is only read when it begins alike."""
    tail = passed(journal, 5)
    copy = journal.with_name("copy.jsonl")
    copy.write_bytes(journal.read_bytes() + samples.steps("r", 6, 6)[0])
    copy.replace(journal)
    assert [line.number for line in tail.read(10)] == [6]
    samples.write(copy, samples.steps("other", 1, 9)).replace(journal)
    tail = passed(journal, 9)
    samples.write(copy, samples.steps("third", 1, 20)).replace(journal)
    with pytest.raises(TelemetryError, match="another file has taken its place"):
        tail.read(1)


def test_fingerprints_ahead_are_those_that_passing_leads_to(journal: Path) -> None:
    """A position is known before its batch is delivered."""
    tail, there = passed(journal, 1), passed(journal, 4)
    assert tail.fingerprint_at(4) == there.fingerprint
    assert tail.fingerprint_after(tail.read(3)) == there.fingerprint
    assert passed(journal, 1).fingerprint_at(6) is None


def test_remaining_counts_complete_lines(journal: Path) -> None:
    """A torn tail is not behind: it is not there yet."""
    samples.write(journal, [b'{"torn'])
    assert passed(journal, 2).remaining() == 3


def test_a_compressed_journal_reads_like_a_plain_one(journal: Path) -> None:
    """Back-filling from an archive needs no unpacking."""
    packed = journal.with_name("run.jsonl.gz")
    packed.write_bytes(gzip.compress(journal.read_bytes()))
    assert passed(packed, 5).fingerprint == passed(journal, 5).fingerprint
    assert passed(packed, 5).read(1) == []


def test_a_missing_journal_is_an_error(tmp_path: Path) -> None:
    """Asked for by name: raised at once."""
    with pytest.raises(TelemetryError, match=r"no\.jsonl"):
        Tail(tmp_path / "no.jsonl")


def grouped(path: Path) -> list[Group]:
    return list(groups(Tail(path).read(1000)))


def test_groups_end_where_the_run_changes(tmp_path: Path) -> None:
    """Consecutive lines of one run are delivered together, in the file's order."""
    path = samples.write(tmp_path / "runs.jsonl", [*samples.steps("a", 1, 2), *samples.steps("b", 1, 1)])
    samples.write(path, samples.steps("a", 3, 3))
    assert [(group.run_id, [record.line for record in group.records]) for group in grouped(path)] == [
        ("a", [1, 2]),
        ("b", [3]),
        ("a", [4]),
    ]


def test_lines_that_are_no_telemetry_are_only_counted(tmp_path: Path) -> None:
    """Torn and foreign lines are passed over; a blank line is not even counted."""
    path = samples.write(tmp_path / "run.jsonl", [b'{"torn\n', b"\n", *samples.steps("a", 1, 1), b'{"other": 1}\n'])
    (group,) = grouped(path)
    assert ([record.line for record in group.records], len(group.lines), group.unreadable) == ([3], 4, 2)


def test_halves_share_all_lines_between_them(journal: Path) -> None:
    """A bisect neither loses a line nor gives one twice."""
    (group,) = grouped(journal)
    left, right = group.halves()
    assert (*left.lines, *right.lines) == group.lines
    assert (len(left.records), len(right.records)) == (2, 3)
