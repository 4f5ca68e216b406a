"""Real MLflow stores and batches for them. Nothing here imports MLflow before a test asks for it."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from hashlib import sha256
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gradience.mirror.sink import Batch, Position, Run
from gradience.vnext import codec
from gradience.vnext.record import Record
from gradience.vnext.types import SCHEMA

if TYPE_CHECKING:
    from mlflow import MlflowClient

START = 1_700_000_000.0  # when every run of these tests begins
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING", "GIT_PYTHON_REFRESH": "quiet"}
_READY_S = 180.0

os.environ.update(_QUIET)  # MLflow reads them when it is imported


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """MLflow's own models use a loader that its SQLAlchemy deprecates; neither is ours to mend."""
    for item in items:
        if _is_about_mlflow(item):
            item.add_marker(pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"))


@pytest.fixture(autouse=True)
def _own_place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test of MLflow has a working directory of its own and no MLflow settings but ours."""
    if not _is_about_mlflow(request.node):
        return
    for key in [key for key in os.environ if key.startswith("MLFLOW_") and key not in _QUIET]:
        monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def _fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty sqlite store; MLflow takes seconds to create one, so it is made once and copied."""
    mlflow = pytest.importorskip("mlflow")
    database: Path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def store_uri(_fresh_store: Path, tmp_path: Path) -> str:
    """The address of an empty sqlite store whose artifacts stay in the test's folder."""
    database = tmp_path / "mlflow.db"
    shutil.copy(_fresh_store, database)
    with closing(sqlite3.connect(database)) as store, store:
        store.execute("UPDATE experiments SET artifact_location = ?", (str(tmp_path / "mlruns" / "0"),))
    return f"sqlite:///{database}"


@pytest.fixture
def client(store_uri: str) -> "MlflowClient":
    """A client of that store."""
    from mlflow import MlflowClient

    return MlflowClient(store_uri)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose journal lies in the folder `demo`."""
    return Run(run_id="run-1", journal=str(tmp_path / "demo" / "run.jsonl"), started=START)


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """Make a batch of consecutive lines: `batch({"event": "train_step", ...}, ..., first=1, run_id="run-1")`."""
    return _batch


@pytest.fixture(scope="session")
def server(_fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real `mlflow server` on loopback."""
    with _serving(_with_store(_fresh_store, tmp_path_factory.mktemp("server")), _free_port()) as address:
        yield address


@pytest.fixture
def serving(_fresh_store: Path, tmp_path: Path) -> Callable[[], AbstractContextManager[str]]:
    """A function that starts a server of the test's own store, always on one port, for as long as a `with` lasts."""
    folder, port = _with_store(_fresh_store, tmp_path / "server"), _free_port()
    return lambda: _serving(folder, port)


def _is_about_mlflow(item: pytest.Item) -> bool:
    return item.path.name.startswith("test_mlflow_")


def _with_store(fresh: Path, folder: Path) -> Path:
    """A folder with a store whose artifacts go through its server."""
    folder.mkdir(exist_ok=True)
    shutil.copy(fresh, folder / "mlflow.db")
    with closing(sqlite3.connect(folder / "mlflow.db")) as store, store:
        store.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0'")
    return folder


def _batch(*events: Mapping[str, Any], first: int = 1, run_id: str = "run-1", **history: Any) -> Batch:
    records, end = [], 0
    for number, event in enumerate(events, first):
        envelope = {"schema": SCHEMA, "ts": START + number, "run_id": run_id, "step": None}
        raw = json.dumps({**envelope, **event}).encode() + b"\n"
        end += len(raw)
        records.append(Record(number, end, raw, codec.decode(raw)))
    mark = sha256(b"".join(record.raw for record in records)).hexdigest()[:12]
    return Batch(records=tuple(records), position=Position(records[-1].line, mark), **history)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _serving(folder: Path, port: int) -> Iterator[str]:
    """A server of the folder's store on a port, killed with all its workers at the end."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        _await(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), closing(HTTPConnection("127.0.0.1", port, timeout=5)) as probe:
            probe.request("GET", "/health")
            if probe.getresponse().status == HTTPStatus.OK:
                return
        time.sleep(0.2)
    raise RuntimeError(f"mlflow server did not come up at port {port} (exit code {process.poll()})")
