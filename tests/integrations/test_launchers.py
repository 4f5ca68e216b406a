"""Training in several processes, as real launchers start them: one of them records and delivers for all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradience.testing.folder import runs
from gradience.vnext.telemetry_reader import TelemetryReader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TRAINING = """
import sys
from gradience.vnext.telemetry import TelemetryWriter
sink = {"type": "gradience.testing.folder:FolderSink", "root": sys.argv[2]}
with TelemetryWriter(sys.argv[1], sinks=[sink]) as writer:
    writer.run_start({"model_name": "m"})
    for step in range(5):
        writer.train_step(step, loss=1.0)
"""


@pytest.mark.parametrize(
    ("library", "launcher"),
    [
        ("torch", ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
        ("accelerate", ["accelerate.commands.launch", "--cpu", "--num_processes", "2"]),
    ],
)
def test_rank_0_alone_records_and_delivers(tmp_path: Path, library: str, launcher: list[str]) -> None:
    """Each line stands once in the journal, and was delivered once."""
    pytest.importorskip(library)
    program, path, root = tmp_path / "train.py", tmp_path / "run.jsonl", tmp_path / "tracker"
    program.write_text(TRAINING)
    root.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", *launcher, str(program), str(path), str(root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert [record.event.step for record in TelemetryReader(path).iter_events("train_step")] == list(range(5))
    (run,) = runs(root).values()
    assert (run.status, [delivered.line for delivered in run.deliveries]) == ("ok", list(range(1, 8)))
