"""Tests of `gradience sync --to mlflow` as a process of its own."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gradience.vnext.telemetry import TelemetryWriter

pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow

STEPS = 20_000
KILLS = 6
PATIENCE_S = 60.0


def _record(path: Path, steps: int) -> None:
    with TelemetryWriter(path, run_id="run-1") as writer:
        writer.run_start({"training": {"max_steps": steps}})
        for step in range(1, steps + 1):
            writer.train_step(step, loss=1.0 / step, lr=1e-4)


def _sync(path: Path, uri: str, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "gradience", "sync", str(path), "--to", "mlflow", "--tracking-uri", uri, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def _finished(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    outcome: dict[str, Any] = json.loads(out)
    return outcome


def _rows(uri: str) -> list[tuple[str, int, int]]:
    """Key, step and how often it is there, of every point."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as store:
        return list(store.execute("SELECT key, step, COUNT(*) FROM metrics GROUP BY key, step ORDER BY key, step"))


def _passed(path: Path) -> int:
    """The last line that the cursor says is delivered."""
    cursors = Path(f"{path}.gradience").glob("mlflow-*.json")
    return max((json.loads(cursor.read_text()).get("line", 0) for cursor in cursors), default=0)


def _kill_under_way(process: "subprocess.Popen[str]", path: Path, delay_s: float) -> None:
    """Kill a sync a moment after it delivered something."""
    before, deadline = _passed(path), time.monotonic() + PATIENCE_S
    while _passed(path) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.timeout(600)
def test_a_killed_sync_leaves_each_point_once(store_uri: str, tmp_path: Path) -> None:
    """Killed at six moments of its work and then let finish: no point is missing, none is there twice."""
    path = tmp_path / "run.jsonl"
    _record(path, STEPS)
    moments = random.Random(7)
    reached = []
    for _ in range(KILLS):
        _kill_under_way(_sync(path, store_uri), path, moments.uniform(0, 0.3))
        reached.append(_passed(path))
    assert reached[0] < STEPS, "the first kill came after the work was done: record more steps"
    _finished(_sync(path, store_uri, "--json"))
    expected = [(key, step, 1) for key in ("train/loss", "train/lr") for step in range(1, STEPS + 1)]
    assert _rows(store_uri) == expected


def test_a_copy_without_its_cursor_goes_on_where_the_run_is(store_uri: str, tmp_path: Path) -> None:
    """Another machine: the same tracked run, nothing twice, and only the new lines are sent."""
    here, there = tmp_path / "run.jsonl", tmp_path / "elsewhere" / "run.jsonl"
    _record(here, 10)
    first = _finished(_sync(here, store_uri, "--json"))
    there.parent.mkdir()
    there.write_bytes(here.read_bytes())
    with TelemetryWriter(there, run_id="run-1", resume=True) as writer:
        writer.train_step(11, loss=0.1)
    second = _finished(_sync(there, store_uri, "--json"))
    assert second["runs"]["run-1"]["id"] == first["runs"]["run-1"]["id"]
    assert second["skipped"] == first["sent"]
    assert ("train/loss", 11, 1) in _rows(store_uri)


def test_from_start_changes_nothing(store_uri: str, tmp_path: Path) -> None:
    """Delivering everything again is safe."""
    path = tmp_path / "run.jsonl"
    _record(path, 50)
    _finished(_sync(path, store_uri, "--json"))
    before = _rows(store_uri)
    again = _finished(_sync(path, store_uri, "--json", "--from-start"))
    assert again["sent"] == 52
    assert _rows(store_uri) == before
