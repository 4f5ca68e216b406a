"""Tests of the MLflow sink against a real `mlflow server`, and against servers that misbehave."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from gradience_mlflow import MLflowSink

from gradience.errors import TargetGoneError, UnavailableError
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.testing import check_sink
from gradience.vnext.types import RunStatus
from tests.integrations.faults.proxy import Fault, Proxy

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow

MakeBatch = Callable[..., Batch]
BOUND_S = 8.0  # one request's timeout of 5 s, and a busy machine


@pytest.fixture(autouse=True)
def _bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a process of the sink's own."""
    for key, value in MLflowSink.process_env.items():
        monkeypatch.setenv(key, str(value))


@pytest.fixture
def remote(server: str) -> "MlflowClient":
    """A client of the server."""
    from mlflow import MlflowClient

    return MlflowClient(server)


def _history(client: "MlflowClient", tracked: Tracked) -> dict[str, list[tuple[float, int, int]]]:
    keys = client.get_run(tracked.id).data.metrics
    return {
        key: sorted((row.value, row.step, row.timestamp) for row in client.get_metric_history(tracked.id, key))
        for key in keys
    }


def test_the_sink_keeps_the_contract(server: str, remote: "MlflowClient") -> None:
    """The suite that every sink must pass, over HTTP."""

    def held(tracked: Tracked) -> object:
        found = remote.get_run(tracked.id)
        return _history(remote, tracked), found.data.params, found.data.tags, dict(found.info)

    check_sink(lambda: MLflowSink(tracking_uri=server), held)


def test_a_run_arrives_over_http(server: str, remote: "MlflowClient", run: Run, batch: MakeBatch) -> None:
    """Points, params, end and files; the link leads to the server's own page."""
    audit = {"event": "metrics", "kind": "lora_audit", "metrics": {"utilization_mean": 0.5}}
    steps = ({"event": "train_step", "step": n, "loss": 1 / n} for n in range(1, 1500))
    events = [{"event": "run_start", "config": {"notes": "x" * 10_000}}, *steps, audit]
    sink = MLflowSink(tracking_uri=server, experiment="over http")
    tracked = sink.open(run)
    sink.deliver(batch(*events, {"event": "run_end", "status": "ok"}))
    sink.close(None, 5)
    found = remote.get_run(tracked.id)
    assert len(_history(remote, tracked)["train/loss"]) == 1499
    assert len(found.data.params["notes"]) == 6000
    assert found.info.status == "FINISHED"
    assert {file.path for file in remote.list_artifacts(tracked.id)} == {"audit.json", "report.html", "report.md"}
    assert tracked.url == f"{server}/#/experiments/{found.info.experiment_id}/runs/{tracked.id}/model-metrics"


def test_nothing_is_printed(server: str, run: Run, batch: MakeBatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Stdout belongs to data, stderr to whoever runs the sink."""
    sink = MLflowSink(tracking_uri=server)
    sink.open(run)
    audit = {"event": "metrics", "kind": "lora_audit", "metrics": {"utilization_mean": 0.5}}
    sink.deliver(batch(audit, {"event": "run_end", "status": "ok"}))
    sink.close(RunStatus.OK, 5)
    assert capfd.readouterr() == ("", "")


def test_an_outage_is_told_and_delivery_goes_on_after_it(
    way: Proxy, remote: "MlflowClient", tmp_path: Path, batch: MakeBatch
) -> None:
    """The same sink delivers again once the server is back; each point is there once."""
    first = batch({"event": "train_step", "step": 1, "loss": 1.0}, run_id="outage")
    second = batch({"event": "train_step", "step": 2, "loss": 2.0}, run_id="outage", first=2)
    sink = MLflowSink(tracking_uri=way.address)
    tracked = sink.open(Run(run_id="outage", journal=str(tmp_path / "run.jsonl"), started=1.0))
    sink.deliver(first)
    way.fault = Fault.REFUSED
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="Delivering lines 2 to 2"):
        sink.deliver(second)
    assert time.monotonic() - began < BOUND_S
    way.fault = Fault.NONE
    sink.deliver(first)
    sink.deliver(second)
    assert [row[:2] for row in _history(remote, tracked)["train/loss"]] == [(1.0, 1), (2.0, 2)]


def test_a_server_that_is_down_is_unavailable_at_once(run: Run) -> None:
    """Nothing waits for retries: whoever drains does that."""
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"run-1: no answer from http://127\.0\.0\.1:1: Connection refused"):
        MLflowSink(tracking_uri="http://127.0.0.1:1").open(run)
    assert time.monotonic() - began < BOUND_S


class _Trap(BaseHTTPRequestHandler):
    """A server with one answer to everything, or none."""

    status: ClassVar[int]
    body: ClassVar[bytes]
    extra: ClassVar[dict[str, str]]
    released: ClassVar[Event | None]

    def _answer(self) -> None:
        if self.released is not None:
            self.released.wait(30)
            return
        self.send_response(self.status)
        for key, value in self.extra.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815  # http.server's own names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""


@pytest.fixture
def trap() -> Iterator[Callable[..., str]]:
    """Start servers with one answer each: `trap(status=503)`, `trap(hang=True)`."""
    running: list[ThreadingHTTPServer] = []
    released = Event()

    def start(status: int = 200, body: bytes = b"", hang: bool = False, **headers: str) -> str:
        answer = {"status": status, "body": body, "released": released if hang else None, "extra": headers}
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (_Trap,), answer))
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://user:secret@127.0.0.1:{server.server_port}"

    yield start
    released.set()
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "answer",
    [
        {"hang": True},
        {"status": 429, "Retry-After": "3600"},
        {"status": 500},
        {"status": 503},
        {"body": b"<html>maintenance</html>"},
    ],
    ids=str,
)
def test_a_server_in_trouble_is_unavailable_within_bounds(
    trap: Callable[..., str], run: Run, answer: dict[str, Any]
) -> None:
    """Hanging, overloaded or hidden by a page of its proxy: one bounded call, and no credentials in the message."""
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        MLflowSink(tracking_uri=trap(**answer)).open(run)
    assert time.monotonic() - began < BOUND_S
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_sends_us_away_is_gone(trap: Callable[..., str], run: Run, status: int) -> None:
    """A login, a permission or an address that only a person can mend."""
    with pytest.raises(TargetGoneError) as caught:
        MLflowSink(tracking_uri=trap(status=status)).open(run)
    assert "secret" not in str(caught.value)


def test_closing_keeps_its_deadline(server: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops answering holds nobody up."""
    from mlflow import MlflowClient

    sink = MLflowSink(tracking_uri=server)
    sink.open(run)
    held = Event()
    monkeypatch.setattr(MlflowClient, "get_run", lambda *_: held.wait(20))
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"no answer within 0\.5 s"):
        sink.close(RunStatus.ERROR, 0.5)
    assert time.monotonic() - began < 5
    held.set()


def test_a_locked_store_is_unavailable(store_uri: str, run: Run, batch: MakeBatch) -> None:
    """Another process holds the sqlite file: later it will not."""
    sink = MLflowSink(tracking_uri=store_uri)
    sink.open(run)
    with closing(sqlite3.connect(store_uri.removeprefix("sqlite:///"))) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError, match="locked"):
            sink.deliver(batch({"event": "train_step", "step": 1, "loss": 1.0}))
    sink.deliver(batch({"event": "train_step", "step": 1, "loss": 1.0}))


def test_importing_the_sink_imports_no_tracker(tmp_path: Path) -> None:
    """Only `open` does."""
    script = "import sys, gradience_mlflow; gradience_mlflow.MLflowSink().target; print('mlflow' in sys.modules)"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"]
