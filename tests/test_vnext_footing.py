"""A file that is taken away while it is recorded."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gradience.vnext import footing
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradience.vnext.telemetry.LOOK_S", 0.0)


def copied(path: Path) -> None:
    """What `sed -i` and most editors do."""
    draft = path.with_suffix(".draft")
    shutil.copyfile(path, draft)
    draft.replace(path)


def steps(path: Path) -> list[int | None]:
    """The steps of a file, in its order."""
    return [record.event.step for record in TelemetryReader(path, strict=True).iter_events("train_step")]


def record(path: Path, fate: Callable[[Path], object]) -> None:
    """Ten steps, with something happening to the file after the fifth."""
    with TelemetryWriter(path) as writer:
        writer.run_start({})
        for step in range(10):
            writer.train_step(step, loss=1.0)
            if step == 4:
                fate(path)


@pytest.mark.parametrize("fate", [copied, Path.unlink])
def test_a_file_that_is_replaced_or_deleted_is_whole_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fate: Callable[[Path], object]
) -> None:
    """Each line once, in the file of that name, and a word about it."""
    path = tmp_path / "run.jsonl"
    record(path, fate)
    assert steps(path) == list(range(10))
    assert TelemetryReader(path).summarize().status == "ok"
    assert [entry.getMessage().split(" while ")[0] for entry in caplog.records] in (
        [f"{path} was replaced"],
        [f"{path} was deleted"],
    )


def test_lines_written_between_copy_and_replacement_follow(tmp_path: Path) -> None:
    """The copy lacks what came after it was taken: exactly that is added, also when a look lay between."""
    path, draft = tmp_path / "run.jsonl", tmp_path / "draft"
    with TelemetryWriter(path) as writer:
        writer.run_start({})
        writer.train_step(1, loss=1.0)
        shutil.copyfile(path, draft)
        writer.train_step(2, loss=1.0)
        writer.train_step(3, loss=1.0)
        draft.replace(path)
        writer.train_step(4, loss=1.0)
    assert steps(path) == [1, 2, 3, 4]


def test_a_file_that_was_edited_gets_what_came_since_the_last_look(tmp_path: Path) -> None:
    """The lines of the edit stay as somebody wanted them."""
    path = tmp_path / "run.jsonl"

    def edit(file: Path) -> None:
        draft = file.with_suffix(".draft")
        draft.write_bytes(file.read_bytes().replace(b'"loss":1.0', b'"loss":2.0'))
        draft.replace(file)

    record(path, edit)
    losses = [record.payload["loss"] for record in TelemetryReader(path).iter_events("train_step")]
    assert losses == [2.0] * 5 + [1.0] * 5


def test_a_file_that_was_moved_is_continued_where_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A rotated log or a renamed folder keeps its lines; said once."""
    path, moved = tmp_path / "run.jsonl", tmp_path / "moved.jsonl"
    record(path, lambda file: file.rename(moved))
    assert (steps(moved), path.exists()) == (list(range(10)), False)
    assert len(caplog.records) == 1


def test_somebody_elses_file_under_the_name_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is appended to what is no telemetry; that lines are lost is said once, and training goes on."""
    path, other = tmp_path / "run.jsonl", tmp_path / "other"
    other.write_text("loss,1\n")
    record(path, lambda file: other.replace(file))
    assert path.read_text() == "loss,1\n"
    assert ["its lines are lost" in entry.getMessage() for entry in caplog.records] == [True]


def test_a_folder_that_comes_back_gets_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that cannot take the file now may do so at the next look; a part of it that got there stands once."""
    path = tmp_path / "run.jsonl"
    write, left = os.write, [3]

    def full(descriptor: int, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with TelemetryWriter(path) as writer:
        writer.run_start({})
        writer.train_step(1, loss=1.0)
        writer.train_step(2, loss=1.0)
        path.unlink()
        with monkeypatch.context() as disk:
            disk.setattr(os, "write", full)
            writer.train_step(3, loss=1.0)  # itself, and two lines of those that follow it
        writer.train_step(4, loss=1.0)
    assert steps(path) == [1, 2, 3, 4]


def test_a_file_that_was_cut_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is gone is gone, but not without a word."""
    path = tmp_path / "run.jsonl"
    record(path, lambda file: os.truncate(file, 0))
    assert [footing.__name__ == entry.name and "was cut by" in entry.getMessage() for entry in caplog.records] == [True]


def test_looks_are_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a second, whatever the clock does; a clock that is set back looks at once."""
    now = [1000.0]
    looks: list[float] = []
    monkeypatch.setattr("gradience.vnext.telemetry.LOOK_S", footing.LOOK_S)
    monkeypatch.setattr("time.time", lambda: now[0])
    monkeypatch.setattr(footing.Footing, "_look", lambda _self: looks.append(now[0]))
    with TelemetryWriter(tmp_path / "run.jsonl") as writer:
        for moment in (1000.0, 1000.5, 1000.9, 1001.0, 1001.5, 900.0, 900.5):
            now[0] = moment
            writer.train_step(1)
        assert looks == [1000.0, 1001.0, 900.0]
