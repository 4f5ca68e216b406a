"""Tests of `gradience_mlflow.creation`: a new store is whole, or is not there."""

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from gradience_mlflow import MLflowSink

from gradience.mirror.sink import Run

pytest.importorskip("mlflow")

CREATE = "import sys; from gradience_mlflow import creation, store; creation.create(store.Store(sys.argv[1]))"


def _creating(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", CREATE, f"sqlite:///{folder}/mlflow.db"], stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.1])
def test_a_process_that_is_killed_leaves_no_half_made_store(tmp_path: Path, run: Run, delay_s: float) -> None:
    """Killed while MLflow makes its tables: the next one makes the store, and finds nothing in its way."""
    process = _creating(tmp_path)
    while not list(tmp_path.glob(".mlflow.db-*/mlflow.db")):
        assert process.poll() is None
        time.sleep(0.001)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    assert MLflowSink(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db").open(run).id


@pytest.mark.slow
def test_of_two_that_create_at_once_one_wins(tmp_path: Path) -> None:
    """Both end well, and what is left is one whole store and nothing beside it."""
    processes = [_creating(tmp_path / "new") for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mlflow.db"]
    with closing(sqlite3.connect(tmp_path / "new" / "mlflow.db")) as store:
        assert store.execute("SELECT name, artifact_location LIKE '%/mlflow.db-%' FROM experiments").fetchall() == [
            ("Default", 0)
        ]
