"""Trainings as users start them, each in a process of its own, and what their journals say."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Eval, TrainStep

ROOT: Final = Path(__file__).parents[2]
BROKEN: Final = ("error", "interrupt", "kill")  # how a training may be left before its end


def run(script: str, out: Path, how: str, *arguments: str, **env: str) -> Path:
    """The journal of a training that was to end in this way; reading it strictly finds nothing."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    found = subprocess.run(
        [sys.executable, "-c", script, str(out), how, *arguments],
        cwd=out.parent,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": path} | env,
    )
    assert (found.returncode != 0) == (how in BROKEN), found.stderr
    assert TelemetryReader(out / "run.jsonl").validate() == []
    return out / "run.jsonl"


def steps(journal: Path) -> list[TrainStep]:
    """The training steps of its last run."""
    return [record.event for record in TelemetryReader(journal) if isinstance(record.event, TrainStep)]


def evaluations(journal: Path) -> list[tuple[int | None, str]]:
    """Where the evaluations of its last run stand, and of which set they are."""
    return [(one.event.step, one.event.split) for one in TelemetryReader(journal) if isinstance(one.event, Eval)]
