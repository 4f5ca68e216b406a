"""A recorder, its side-car and a real MLflow store: what a person sees in MLflow while and after a run trains."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gradience_mlflow import MLflowSink

from gradience.mirror.cursor import CursorFile
from gradience.mirror.live import recording
from gradience.mirror.live.spec import Terms
from gradience.vnext import lock
from gradience.vnext.telemetry import TelemetryWriter
from tests.integrations.faults.proxy import Fault, Proxy

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

mlflow = pytest.importorskip("mlflow")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="side-cars are refused there"),
]

TERMS = Terms(poll_s=0.2, grace_s=0.5, linger_s=12.0)
TRAINER = """
import sys, time
from gradience.vnext.telemetry import TelemetryWriter
writer = TelemetryWriter(sys.argv[1], sinks=[{"type": "mlflow", "tracking_uri": sys.argv[2]}])
writer.run_start({"lora": {"r": 8}})
for step in range(1, 10**6):
    writer.train_step(step, loss=1 / step)
    time.sleep(0.02)
"""


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "TERMS", TERMS)


@pytest.fixture(autouse=True)
def _own_state() -> Iterator[None]:
    """MLflow's address and active runs are those of the process: no test leaves any to the next."""
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def until(done: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something that must come; a first look at a fresh process takes MLflow's import."""
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.1)


@contextmanager
def training(script: str, journal: Path, address: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that trains until it is killed, at the end at the latest."""
    with subprocess.Popen([sys.executable, "-c", script, str(journal), address]) as trainer:
        try:
            yield trainer
        finally:
            trainer.kill()


def tracked(client: "MlflowClient") -> "Run | None":
    """The one run of the store, once it is there."""
    found = client.search_runs(["0"])
    assert len(found) <= 1
    return found[0] if found else None


def the_run(client: "MlflowClient") -> "Run":
    """The one run of the store."""
    found = tracked(client)
    assert found is not None
    return found


def steps(client: "MlflowClient", run_id: str) -> list[int]:
    """The steps of `train/loss` as MLflow shows them."""
    return [point.step for point in client.get_metric_history(run_id, "train/loss")]


def recorded(journal: Path) -> list[int]:
    """The steps in the journal."""
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    return [event["step"] for event in events if event["event"] == "train_step"]


def test_curves_grow_while_the_run_trains(
    journal: Path, store_uri: str, client: "MlflowClient", caplog: pytest.LogCaptureFixture
) -> None:
    """Points and params are there seconds after they were recorded; the run ends with the recorder."""
    caplog.set_level(logging.INFO, "gradience.mirror")
    with TelemetryWriter(journal, sinks=[{"type": "mlflow", "tracking_uri": store_uri}]) as writer:
        writer.run_start({"lora": {"r": 8}})
        writer.train_step(1, loss=2.0)
        until(lambda: (run := tracked(client)) and steps(client, run.info.run_id) == [1])
        run = the_run(client)
        assert run.info.status == "RUNNING"
        assert run.data.params["lora.r"] == "8"
        writer.train_step(2, loss=1.0)
        sync = [sys.executable, "-m", "gradience", "sync", str(journal), "--to", "mlflow", "--tracking-uri", store_uri]
        subprocess.run(sync, check=True)  # by hand, beside the side-car: it waits until that one has delivered
        assert steps(client, run.info.run_id) == [1, 2]
    assert the_run(client).info.status == "FINISHED"
    assert f"runs/{run.info.run_id}/model-metrics (served by: mlflow ui --backend-store-uri {store_uri})" in caplog.text


def test_a_detectors_alert_is_in_mlflow_while_the_run_trains(
    journal: Path, store_uri: str, client: "MlflowClient"
) -> None:
    """The recorder watches its own run: somebody who looks at the tracker sees the NaN before the end."""
    sinks = [{"type": "mlflow", "tracking_uri": store_uri}]
    with TelemetryWriter(journal, sinks=sinks, monitors=True) as writer:
        writer.run_start({"lora": {"r": 8}})
        writer.train_step(1, loss=2.0)
        writer.train_step(2, loss=float("nan"))
        until(lambda: (run := tracked(client)) and "gradience.alert.loss_nonfinite" in run.data.tags)
        run = the_run(client)
        assert run.info.status == "RUNNING"
        assert run.data.metrics["alerts/error"] == 1


def test_a_killed_training_fails_and_a_resumed_one_runs_again(journal: Path, server: str) -> None:
    """Kill -9: FAILED, with every point once. Resumed: RUNNING, then FINISHED, in the same tracked run."""
    client = mlflow.MlflowClient(server)
    before = {run.info.run_id for run in client.search_runs(["0"])}

    def ours() -> "Run | None":
        return next((run for run in client.search_runs(["0"]) if run.info.run_id not in before), None)

    with training(TRAINER, journal, server) as trainer:
        until(lambda: (run := ours()) and len(steps(client, run.info.run_id)) > 10)
        trainer.kill()
    until(lambda: (run := ours()) and run.info.status == "FAILED")
    run = ours()
    assert run is not None
    assert steps(client, run.info.run_id) == recorded(journal)
    with TelemetryWriter(journal, sinks=[{"type": "mlflow", "tracking_uri": server}]) as writer:
        writer.run_start({"lora": {"r": 8}})
        until(lambda: (run := ours()) and run.info.status == "RUNNING")
        writer.train_step(10**6, loss=0.5)
    again = ours()
    assert again is not None
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert steps(client, again.info.run_id) == recorded(journal)


def test_the_run_that_is_active_in_the_training_is_joined_and_left_alone(
    journal: Path, store_uri: str, client: "MlflowClient"
) -> None:
    """Nobody named it: the user's own `start_run` is enough. Its name, status and end stay the user's."""
    mlflow.set_tracking_uri(store_uri)
    with mlflow.start_run(run_name="mine") as active:
        with TelemetryWriter(journal, sinks=["mlflow"]) as writer:
            writer.train_step(1, loss=2.0)
        run = the_run(client)
        assert (run.info.run_id, run.info.run_name, run.info.status) == (active.info.run_id, "mine", "RUNNING")
        assert steps(client, run.info.run_id) == [1]
        mlflow.log_metric("own", 1.0)
    assert the_run(client).info.status == "FINISHED"
    assert the_run(client).data.metrics == {"own": 1.0, "train/loss": 2.0}


def test_a_killed_training_does_not_fail_a_run_of_the_users(
    journal: Path, store_uri: str, client: "MlflowClient"
) -> None:
    """What Gradience did not make, it does not end."""
    theirs = client.create_run("0", run_name="mine")
    script = TRAINER.replace("sys.argv[2]}", f'sys.argv[2], "run": "{theirs.info.run_id}"}}')
    with training(script, journal, store_uri) as trainer:
        until(lambda: steps(client, theirs.info.run_id))
        trainer.kill()
    until(lambda: steps(client, theirs.info.run_id) == recorded(journal))
    store = CursorFile(journal, "mlflow", MLflowSink(tracking_uri=store_uri, run=theirs.info.run_id).target)
    until(lambda: lock.holder(store.lock) is None)
    assert client.get_run(theirs.info.run_id).info.status == "RUNNING"


def test_a_server_that_comes_late_gets_everything(journal: Path, way: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """Training starts while MLflow is down; the recorder says so, and nothing is missing in the end."""
    way.fault = Fault.REFUSED
    sink = {"type": "mlflow", "tracking_uri": way.address, "experiment": "late"}
    with TelemetryWriter(journal, sinks=[sink], close_timeout_s=60) as writer:
        for step in range(1, 6):
            writer.train_step(step, loss=1 / step)
        until(lambda: "mlflow: not delivered, will try again" in caplog.text)
        way.fault = Fault.NONE
        until(lambda: "mlflow: delivering again" in caplog.text, 120.0)
    client = mlflow.MlflowClient(way.address)
    (run,) = client.search_runs([client.get_experiment_by_name("late").experiment_id])
    assert steps(client, run.info.run_id) == recorded(journal)
    assert run.info.status == "FINISHED"


def test_close_does_not_wait_for_a_server_that_is_down(journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It returns within its deadline, says what is behind and how to catch up; the side-car goes after a while."""
    address = "http://127.0.0.1:9"
    writer = TelemetryWriter(journal, sinks=[{"type": "mlflow", "tracking_uri": address}], close_timeout_s=5)
    writer.train_step(1, loss=1.0)
    store = CursorFile(journal, "mlflow", address)
    until(lambda: store.load() is not None)
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 9.0  # the deadline of 5 s, and a busy machine
    assert "mlflow is 2 lines behind (" in caplog.text
    assert f"catch up with: gradience sync {journal} --to mlflow --tracking-uri {address}" in caplog.text
    until(lambda: lock.holder(store.lock) is None)
