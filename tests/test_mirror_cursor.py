import logging
from pathlib import Path

import pytest

from gradience.mirror import deadletters
from gradience.mirror.cursor import Cursor, CursorFile, Mark
from gradience.mirror.deadletters import DeadLetter, DeadLetters
from gradience.mirror.history import History
from gradience.testing import samples


@pytest.fixture
def store(tmp_path: Path) -> CursorFile:
    return CursorFile(tmp_path / "run.jsonl", "memory", "memory:")


def test_a_cursor_comes_back_as_it_was_saved(store: CursorFile) -> None:
    """Offset, runs and what they have said survive the file."""
    mark = Mark(started=1.0, tracked="t", line=3, history=History({"info": 1}, 4, frozenset({"train/loss"})))
    cursor = Cursor(journal="/run.jsonl", sink="memory", target="memory:", offset=9, line=3, runs={"r": mark})
    store.save(cursor)
    assert store.load() == cursor


def test_no_cursor_is_none(store: CursorFile) -> None:
    """A target that was never delivered to has no cursor."""
    assert store.load() is None


def test_each_target_has_a_cursor_of_its_own(tmp_path: Path) -> None:
    """Two addresses of one tracker are two mirrors; one address is one."""
    here, there = (CursorFile(tmp_path / "run.jsonl", "memory", target) for target in ("memory:a", "memory:b"))
    assert here.path != there.path
    assert here.path == CursorFile(tmp_path / "run.jsonl", "memory", "memory:a").path


def test_a_corrupt_cursor_is_set_aside_and_said(store: CursorFile, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read is not trusted, and not destroyed."""
    store.path.write_bytes(b'{"offset": 7')
    assert store.load() is None
    assert "is corrupt" in caplog.text
    assert store.path.with_suffix(".corrupt").read_bytes() == b'{"offset": 7'


def test_saving_leaves_nothing_but_the_cursor(store: CursorFile) -> None:
    """The draft has become the file."""
    store.save(Cursor(journal="/run.jsonl", sink="memory", target="memory:"))
    assert list(store.path.parent.iterdir()) == [store.path]


def test_a_dead_letter_is_kept_with_line_reason_and_text(store: CursorFile) -> None:
    """Whoever mends the event finds all of it."""
    record = samples.records(samples.steps("r", 1, 1))[0]
    DeadLetters(store.dead_letters).bury(record, "too long")
    assert deadletters.read(store.dead_letters) == [DeadLetter(1, "too long", record.raw.decode().rstrip("\n"))]


def test_a_line_is_buried_once(store: CursorFile) -> None:
    """A crash between the letter and the cursor buries the line again, in another process."""
    record = samples.records(samples.steps("r", 1, 1))[0]
    for _ in range(2):
        DeadLetters(store.dead_letters).bury(record, "too long")
    assert len(deadletters.read(store.dead_letters)) == 1


def test_a_torn_letter_swallows_no_other(store: CursorFile) -> None:
    """What a killed process left unfinished stays a line of its own."""
    store.dead_letters.write_bytes(b'{"line": 1, "rea')
    DeadLetters(store.dead_letters).bury(samples.records(samples.steps("r", 1, 2))[1], "too long")
    assert [letter.line for letter in deadletters.read(store.dead_letters)] == [2]


def test_a_valid_cursor_says_nothing(store: CursorFile, caplog: pytest.LogCaptureFixture) -> None:
    """Warnings are for what is wrong."""
    with caplog.at_level(logging.DEBUG):
        store.save(Cursor(journal="/run.jsonl", sink="memory", target="memory:"))
        store.load()
    assert caplog.text == ""
