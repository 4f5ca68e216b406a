import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from gradience_mlflow import active

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(autouse=True)
def _own_state(store_uri: str) -> Iterator[None]:
    """MLflow's address is that of the process."""
    mlflow.set_tracking_uri(store_uri)
    yield
    mlflow.set_tracking_uri(None)


def test_the_active_run_is_found_with_its_store(store_uri: str) -> None:
    """Both are needed to find it from another process."""
    with mlflow.start_run() as run:
        assert active.options(None) == {"tracking_uri": store_uri, "active_run": run.info.run_id}
        assert active.options(store_uri) == active.options(None)


def test_nothing_active_is_nothing() -> None:
    """An MLflow that is only imported says nothing."""
    assert active.options(None) == {}


def test_a_run_in_another_store_is_not_ours(tmp_path: Path) -> None:
    """The store that was named decides."""
    with mlflow.start_run():
        assert active.options(f"sqlite:///{tmp_path}/other.db") == {}


def test_only_the_callers_thread_is_looked_at() -> None:
    """MLflow keeps active runs by thread, so the recorder asks in the thread that records."""
    found: list[dict[str, str]] = []
    with mlflow.start_run():
        thread = Thread(target=lambda: found.append(active.options(None)))
        thread.start()
        thread.join()
    assert found == [{}]


def test_mlflow_is_never_imported_for_it() -> None:
    """A training that has not imported it has no active run."""
    script = "import sys; from gradience_mlflow import active; assert not active.options(None); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "mlflow" not in done.stdout.split()
