from pathlib import Path

import pytest

from gradience.errors import TargetGoneError, UnavailableError
from gradience.mirror.sink import Run, Tracked
from gradience.testing import check_sink, samples
from gradience.testing.folder import FolderRun, FolderSink, runs
from gradience.vnext.types import RunStatus

RUN = Run(run_id="r/1", journal="run.jsonl", started=samples.STARTED)


def test_the_sink_keeps_the_contract(tmp_path: Path) -> None:
    """As every sink must."""

    def contents(tracked: Tracked) -> object:
        run = FolderRun(tmp_path / tracked.id)
        return run.rows, run.position, run.status

    check_sink(lambda: FolderSink(root=str(tmp_path)), contents)


def test_a_close_ends_only_a_run_that_still_runs(tmp_path: Path) -> None:
    """A run that ended before keeps its end."""
    sink = FolderSink(root=str(tmp_path))
    sink.open(RUN)
    sink.close(RunStatus.ERROR, 1.0)
    sink.open(RUN)
    sink.close(RunStatus.OK, 1.0)
    (run,) = runs(tmp_path).values()
    assert run.status == "error"


def test_a_fault_decides_how_the_tracker_answers(tmp_path: Path) -> None:
    """From the moment that its file is there."""
    sink = FolderSink(root=str(tmp_path))
    sink.open(RUN)
    (tmp_path / "fault").write_text("refused")
    with pytest.raises(UnavailableError):
        sink.open(RUN)
    (tmp_path / "fault").write_text("gone")
    with pytest.raises(TargetGoneError):
        sink.open(RUN)


def test_what_a_kill_cut_short_is_no_delivery(tmp_path: Path) -> None:
    """Nor does it spoil the next one, by another process."""
    (tmp_path / "r%2F1").mkdir()
    (tmp_path / "r%2F1" / "lines").write_text('{"line":1,"raw":"{}","pid":1}\n{"line":2,"ra')
    tracked = FolderSink(root=str(tmp_path)).open(RUN)
    assert FolderRun(tmp_path / tracked.id).rows == {1: "{}"}
    assert (tmp_path / tracked.id / "lines").read_text() == '{"line":1,"raw":"{}","pid":1}\n'
