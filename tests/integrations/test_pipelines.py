"""The example pipelines, each run as its user would: the script, Hydra, SLURM's job and the steps of the action."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Metrics
from tests.integrations.trainings import steps

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("peft")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the tools' own
ROOT: Final = Path(__file__).parents[2]
PIPELINES: Final = ROOT / "examples" / "pipelines"
PYTHON: Final = Path(sys.executable)
PREEMPTED: Final = """#!/bin/bash
# What SLURM's srun does here: run what it is given; or, where a file is named, kill it once that file is there.
[ -n "${UNTIL:-}" ] || exec "$@"
"$@" &
until [ -e "$UNTIL" ]; do sleep 0.02; done
kill -9 $!
wait $!
"""


def _run(folder: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    path = os.pathsep.join([str(folder / "bin"), str(PYTHON.parent), os.environ["PATH"]])
    given = {**os.environ, "PYTHONPATH": places, "PATH": path, "PYTHONWARNINGS": "ignore", **env}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A copy of the examples, where they may write."""
    folder = tmp_path / "pipelines"
    shutil.copytree(PIPELINES, folder, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    return folder


def _audits(journal: Path) -> list[int | None]:
    events = [record.event for record in TelemetryReader(journal)]
    return [event.step for event in events if isinstance(event, Metrics) and event.kind == "lora_audit"]


def test_a_script_with_a_list_of_sinks_in_its_yaml(pipeline: Path, store_uri: str) -> None:
    """The run is in MLflow with its curve and its audits; the action's steps then take the adapter that it made."""
    done = _run(pipeline, str(PYTHON), "train.py", "train.yaml", MLFLOW_TRACKING_URI=store_uri)
    assert done.returncode == 0, done.stderr
    assert _audits(pipeline / "runs" / "pipeline" / "run.jsonl") == [20, 40]
    client = mlflow.MlflowClient(store_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pipeline").experiment_id])
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 40
    assert len(client.get_metric_history(run.info.run_id, "lora_audit/rank_waste")) == 2

    job = yaml.safe_load((pipeline / "github-action.yml").read_text())["jobs"]["adapter"]
    steps = [step["run"] for step in job["steps"] if "run" in step and not step["run"].startswith("pip ")]
    assert len(steps) == 3
    for step in steps:
        done = _run(pipeline, "bash", "-e", "-c", step, ADAPTER="runs/pipeline")
        assert done.returncode == 0, done.stderr
    assert (pipeline / "gradience.sarif").stat().st_size > 0
    assert "verdict" in (pipeline / "gradience.html").read_text()


def test_hydra_has_gradience_as_a_group(pipeline: Path) -> None:
    """Told to do without trackers, a run is recorded all the same, in Hydra's directory of it."""
    pytest.importorskip("hydra")
    done = _run(pipeline, str(PYTHON), "hydra_train.py", "gradience=off", "training.max_steps=3", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    seen = TelemetryReader(pipeline / "out" / "run.jsonl").summarize()
    assert (seen.status, seen.last_step) == ("ok", 3)


def test_a_job_that_is_queued_again_goes_on_in_its_run(pipeline: Path) -> None:
    """Killed after a checkpoint, then started anew: each step stands once, with an audit after the last."""
    srun = pipeline / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(PREEMPTED, encoding="utf-8")
    srun.chmod(0o755)
    job = ("bash", "train.sbatch", "training.max_steps=90", "training.save_steps=30")
    killed = _run(pipeline, *job, SLURM_JOB_ID="7", UNTIL="runs/7/checkpoint-30/trainer_state.json")
    assert killed.returncode == 137, killed.stderr
    journal = pipeline / "runs" / "7" / "run.jsonl"
    first = TelemetryReader(journal).summarize()
    assert not first.ended
    done = _run(pipeline, *job, SLURM_JOB_ID="7")
    assert done.returncode == 0, done.stderr
    seen = TelemetryReader(journal).summarize()
    assert (seen.run_id, seen.status, seen.starts) == (first.run_id, "ok", 2)
    assert [step.step for step in steps(journal)] == list(range(1, 91))
    assert _audits(journal)[-1] == 90
