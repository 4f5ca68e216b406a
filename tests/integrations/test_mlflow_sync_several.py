"""Many runs behind, one command: real MLflow stores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from mlflow import MlflowClient

from gradience.testing import samples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RUNS, STEPS = 30, 400


def sync(folder: Path, uri: str) -> "subprocess.CompletedProcess[str]":
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "gradience", "sync", str(folder), "--to", "mlflow", "--tracking-uri", uri]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=env)


@pytest.mark.parametrize("store", ["sqlite", "server"])
def test_thirty_runs_of_a_directory_arrive_once(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Several processes share one store, an sqlite file too; a repeated command finds nothing to do."""
    uri: str = request.getfixturevalue("store_uri" if store == "sqlite" else "server")
    folder = tmp_path / "runs"
    for number in range(RUNS):
        journal = folder / f"{store}-{number:02}" / "run.jsonl"
        journal.parent.mkdir(parents=True)
        samples.write(journal, samples.steps(journal.parent.name, 1, STEPS))
    first = sync(folder, uri)
    assert (first.returncode, first.stdout.count(f"{STEPS} sent, 0 rejected, up to date")) == (0, RUNS), first.stderr
    client = MlflowClient(uri)
    found = client.search_runs(["0"], max_results=1000)
    names = [run.data.tags["gradience.run_id"] for run in found if "gradience.run_id" in run.data.tags]
    ours = sorted(name for name in names if name.startswith(store))
    assert ours == [f"{store}-{number:02}" for number in range(RUNS)]
    for run in found:
        if run.data.tags.get("gradience.run_id", "").startswith(store):
            steps = [row.step for row in client.get_metric_history(run.info.run_id, "train/loss")]
            assert steps == list(range(1, STEPS + 1))
    again = sync(folder, uri)
    assert (again.returncode, again.stdout.count(" 0 sent, 0 rejected, up to date")) == (0, RUNS), again.stderr
