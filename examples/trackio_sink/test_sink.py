"""The whole test of a sink: the conformance suite, against the real tracker. To run it: `pytest` in this folder."""

import os
from pathlib import Path

import pytest
from gradience_trackio import TrackioSink

from gradience.errors import ReplacedError
from gradience.mirror.sink import Tracked
from gradience.mirror.sync import sync
from gradience.testing import check_sink, samples

PROJECT = "conformance"


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the test's own; Trackio reads its place once, when it is imported."""
    folder = tmp_path_factory.mktemp("trackio")
    os.environ["TRACKIO_DIR"] = str(folder)
    return folder


def contents(tracked: Tracked) -> object:
    """Everything that Trackio holds of a run, by its own API."""
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    if not SQLiteStorage.get_project_db_path(PROJECT).exists():
        return None
    rows = SQLiteStorage.get_logs(PROJECT, None, run_id=tracked.id)
    runs = [(run.id, run.name, run.config, run.alerts()) for run in Api().runs(PROJECT) if run.id == tracked.id]
    return repr((rows, runs))  # NaN equals itself only as text


def test_the_sink_keeps_the_contract() -> None:
    """Every promise of `gradience.mirror.sink`, on a store on disk."""
    check_sink(lambda: TrackioSink(project=PROJECT), contents, libraries=["trackio"])


def test_numbers_arrive_as_they_were_recorded(store: Path) -> None:
    """At their own step and time, NaN included."""
    from trackio.sqlite_storage import SQLiteStorage

    sync(samples.write(store / "run.jsonl", samples.every_event("r")), TrackioSink(project="numbers"))
    rows = {row["step"]: row for row in SQLiteStorage.get_logs("numbers", None, run_id="r") if "train/loss" in row}
    assert repr([(step, row["train/loss"]) for step, row in rows.items()]) == "[(1, 2.5), (2, nan)]"
    assert rows[1]["timestamp"] == "2023-11-14T22:13:21+00:00"
    (alert,) = SQLiteStorage.get_alerts("numbers")
    assert (alert["title"], alert["level"], alert["step"]) == ("LOSS_NAN", "warn", 2)


def test_a_run_that_was_deleted_is_missed(store: Path) -> None:
    """Its cursor says that lines were delivered, and Trackio holds none: that is said, and mended when it is meant."""
    from trackio.sqlite_storage import SQLiteStorage

    journal = samples.write(store / "deleted.jsonl", samples.steps("d", 1, 3))
    sync(journal, TrackioSink(project="deleted"))
    SQLiteStorage.delete_run("deleted", None, run_id="d")
    samples.write(journal, samples.steps("d", 4, 4))
    with pytest.raises(ReplacedError, match="holds lines up to 0, not 3"):
        sync(journal, TrackioSink(project="deleted"))
    assert sync(journal, TrackioSink(project="deleted"), from_start=True).sent == 4
    assert len(SQLiteStorage.get_logs("deleted", None, run_id="d")) == 4
