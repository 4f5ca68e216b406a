"""A recorder with a side-car in a process that has a W&B run of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.integrations.wandb_double import server

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

SCRIPT: Final = """
import wandb
from gradience.vnext.telemetry import TelemetryWriter

run = wandb.init(project="sft", entity="me", group="tries", tags=["mine"])
with TelemetryWriter("run.jsonl", "r", sinks=["gradience_wandb.sink:WandbSink"]) as writer:
    writer.run_start({"optimizer": {"lr": 1e-3}})
    for step in range(1, 11):
        writer.train_step(step, loss=1.0 / step)
        run.log({"train/loss": 1.0 / step}, step=step)
run.finish()
"""


def test_the_side_car_puts_a_run_of_its_own_beside_it(tmp_path: Path) -> None:
    """In its project and group, linked in the config; neither a sweep nor the live run is ever taken for ours."""
    with server.serving() as tracker:
        environ = {**tracker.env(tmp_path), "WANDB_SWEEP_ID": "s1", "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "1"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        ours = tracker.runs["r"]
        (theirs,) = [run for run in tracker.runs.values() if run is not ours]
    assert [row["train/loss"] for row in theirs.history] == [1.0 / step for step in range(1, 11)]
    assert (theirs.sweep, theirs.tags, theirs.state, theirs.resumed) == ("s1", ["mine"], "finished", 0)
    assert (ours.project, ours.group, ours.job_type, ours.sweep) == (theirs.project, theirs.group, "gradience", None)
    assert ours.settings["gradience"]["of_run"] == theirs.path
    assert [row["_step"] for row in ours.history if "train/loss" in row] == list(range(2, 12))
    assert ours.state == "finished"
