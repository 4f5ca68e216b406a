"""A file that is taken away while it is recorded."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gradience.vnext import footing, lock, state
from gradience.vnext.appender import append_events
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


def test_what_somebody_added_to_the_copy_makes_no_line_stand_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit may come between the replacement and the recorder's look."""
    monkeypatch.setattr("gradience.vnext.telemetry.LOOK_S", footing.LOOK_S)
    path = tmp_path / "run.jsonl"
    audit = {"event": "metrics", "step": 1, "kind": "lora_audit", "metrics": {"x": 1.0}}

    def copy_and_add(file: Path) -> None:
        copied(file)
        append_events(file, None, [audit])

    record(path, copy_and_add)
    assert steps(path) == list(range(10))
    assert len(list(TelemetryReader(path).iter_events("metrics"))) == 1


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


def test_a_recorder_that_is_refused_takes_nothing_away(tmp_path: Path) -> None:
    """It has made an empty file in the place of the one that was deleted, before it was refused."""
    path = tmp_path / "run.jsonl"
    script = "from gradience.vnext.telemetry import TelemetryWriter; import sys; TelemetryWriter(sys.argv[1])"

    def refuse(file: Path) -> None:
        file.unlink()
        other = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=False)
        assert "is recording to it" in other.stderr
        assert file.stat().st_size == 0

    record(path, refuse)
    assert steps(path) == list(range(10))


def test_another_recorder_of_a_folder_that_was_deleted_keeps_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The lock went with the folder; nothing of the first recorder gets among the lines of the second."""
    path = tmp_path / "out" / "run.jsonl"
    script = "from gradience.vnext.telemetry import TelemetryWriter as W; import sys; w = W(sys.argv[1]); w.run_start()"
    with TelemetryWriter(path) as writer:
        writer.train_step(1, loss=1.0)
        shutil.rmtree(path.parent)
        program = [sys.executable, "-c", f"{script}; print(); input()", str(path)]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            other.stdout.readline()
            before = path.read_bytes()
            writer.train_step(2, loss=1.0)
            writer.train_step(3, loss=1.0)
            assert path.read_bytes() == before
            other.communicate("\n")
    assert f"process {other.pid} on" in caplog.text


def test_the_lock_of_a_folder_that_was_deleted_is_taken_again(tmp_path: Path) -> None:
    """A second recorder is refused there as before."""
    path = tmp_path / "out" / "run.jsonl"
    with TelemetryWriter(path) as writer:
        writer.train_step(1, loss=1.0)
        shutil.rmtree(path.parent)
        writer.train_step(2, loss=1.0)
        assert lock.holder(state.folder(path) / state.RECORDER_LOCK) is not None
        assert (state.folder(path) / state.RECORDER_LOCK).stat().st_size
    assert steps(path) == [1, 2]


def test_a_deleted_file_is_back_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that found a part of it would take it for another file; what cannot be put back leaves no draft."""
    path = tmp_path / "run.jsonl"
    with TelemetryWriter(path) as writer:
        writer.train_step(1, loss=1.0)
        path.unlink()
        with monkeypatch.context() as disk:
            disk.setattr(Path, "replace", lambda *_: Path("/missing").stat())
            writer.train_step(2, loss=1.0)
            assert [place.name for place in tmp_path.iterdir()] == ["run.jsonl.gradience"]
        writer.train_step(3, loss=1.0)
    assert steps(path) == [1, 2, 3]


def test_a_disk_that_has_room_again_gets_what_a_copy_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that cannot take the lines now may do so at the next look; those that got there stand once."""
    path, draft = tmp_path / "run.jsonl", tmp_path / "draft"
    write, left = os.write, [3]

    def full(descriptor: int, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with TelemetryWriter(path) as writer:
        writer.run_start({})
        shutil.copyfile(path, draft)
        writer.train_step(1, loss=1.0)
        writer.train_step(2, loss=1.0)
        draft.replace(path)
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
