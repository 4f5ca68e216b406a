"""Runs whose recorder was killed."""

import os
import subprocess
import sys
from pathlib import Path

from gradience.mirror.fleet import abandonment
from gradience.testing import samples
from gradience.vnext import state
from gradience.vnext.telemetry import TelemetryWriter

RECORDER = """
import os, sys
from gradience.vnext.telemetry import TelemetryWriter
writer = TelemetryWriter(sys.argv[1])
writer.train_step(1, loss=1.0)
os._exit(9)
"""


def killed(path: Path) -> Path:
    """A journal whose recorder had no time to end it."""
    subprocess.run([sys.executable, "-c", RECORDER, str(path)], check=False, env={**os.environ})
    return path


def test_a_killed_recorder_leaves_its_run(tmp_path: Path) -> None:
    """The lock is free, signed on this machine, and there is no end."""
    run = killed(tmp_path / "run.jsonl")
    assert abandonment.is_left(run)
    assert abandonment.is_unended(run)


def test_a_recorder_at_work_has_not_left(tmp_path: Path) -> None:
    """It holds its lock."""
    run = killed(tmp_path / "run.jsonl")
    with TelemetryWriter(run) as writer:
        writer.train_step(2, loss=1.0)
        assert not abandonment.is_left(run)
    assert not abandonment.is_unended(run)


def test_a_file_without_a_lock_tells_nothing(tmp_path: Path) -> None:
    """It was copied, or recorded where locks do not work."""
    run = samples.write(tmp_path / "run.jsonl", samples.steps("r", 1, 2))
    assert not abandonment.is_left(run)


def test_another_machine_s_recorder_cannot_be_judged_from_here(tmp_path: Path) -> None:
    """Its lock may not show over a network file system."""
    run = killed(tmp_path / "run.jsonl")
    (state.folder(run) / state.RECORDER_LOCK).write_text("123 another-machine\n")
    assert not abandonment.is_left(run)
