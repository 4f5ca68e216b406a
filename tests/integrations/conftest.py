"""Real MLflow stores and batches for them. Nothing here imports MLflow before a test asks for it."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gradience.mirror.sink import Batch, Position, Run
from gradience.vnext import codec
from gradience.vnext.record import Record
from gradience.vnext.types import SCHEMA
from tests.integrations.faults import table
from tests.integrations.faults.proxy import Proxy, proxy
from tests.integrations.faults.server import Server
from tests.integrations.faults.table import Row

if TYPE_CHECKING:
    from mlflow import MlflowClient

START = 1_700_000_000.0  # when every run of these tests begins
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING", "GIT_PYTHON_REFRESH": "quiet"}

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


@pytest.fixture
def wandb_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that wandb keeps, in the environment of a process of the W&B sink's own."""
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    home = tmp_path / "home"
    home.mkdir()
    for key in ("HOME", "WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(key, str(home))
    for key, value in {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_MODE": "offline"}.items():
        monkeypatch.setenv(key, value)
    return home


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
def tracker(_fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real `mlflow server` on loopback, which runs; who kills it starts it again."""
    made = Server(tmp_path_factory.mktemp("server"), _fresh_store)
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="session")
def server(tracker: Server) -> str:
    """The address of that server."""
    return tracker.address


@pytest.fixture
def way(tracker: Server) -> Iterator[Proxy]:
    """What stands between a test and that server: its `fault` is the test's."""
    with proxy(tracker.port) as made:
        yield made


@pytest.fixture
def matrix() -> list[Row]:
    """The rows of a test in the table of the fault matrix, which is printed at the end of the session."""
    return []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Send the rows of a test along with its report."""
    if call.when == "call" and isinstance(item, pytest.Function):
        rows: Any = item.funcargs.get("matrix", [])
        item.user_properties += table.properties(rows)


def _is_about_mlflow(item: pytest.Item) -> bool:
    return item.path.name.startswith(("test_mlflow_", "test_fault_", "test_toy_", "test_trackers_"))


def _batch(*events: Mapping[str, Any], first: int = 1, run_id: str = "run-1", **history: Any) -> Batch:
    records, end = [], 0
    for number, event in enumerate(events, first):
        envelope = {"schema": SCHEMA, "ts": START + number, "run_id": run_id, "step": None}
        raw = json.dumps({**envelope, **event}).encode() + b"\n"
        end += len(raw)
        records.append(Record(number, end, raw, codec.decode(raw)))
    mark = sha256(b"".join(record.raw for record in records)).hexdigest()[:12]
    return Batch(records=tuple(records), position=Position(records[-1].line, mark), **history)
