"""Tests of `gradience_mlflow.probing`: a probe tells whether a store can be used, and leaves no trace in it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from gradience_mlflow import MLflowSink

from gradience.errors import SinkError, TargetGoneError, UnavailableError
from tests.integrations.faults.server import free_port

pytest.importorskip("mlflow")

WAIT_S = 5.0


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_store_of_this_mlflow_can_be_used(store_uri: str, tmp_path: Path) -> None:
    """It is looked at, and neither opened by MLflow nor changed."""
    before = _files(tmp_path)
    assert "and can be written" in MLflowSink(tracking_uri=store_uri).probe(WAIT_S)
    assert _files(tmp_path) == before


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """The embedded default begins with the first run, not with a question."""
    said = MLflowSink().probe(WAIT_S)
    assert (said, _files(tmp_path)) == ("there is no sqlite store yet; the first run makes it", {})
    (tmp_path / "empty.db").touch()
    assert MLflowSink(tracking_uri=f"sqlite:///{tmp_path}/empty.db").probe(WAIT_S) == said


def test_a_store_of_another_mlflow_is_not_migrated(store_uri: str, tmp_path: Path) -> None:
    """The same refusal as that of a delivery."""
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        store.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    before = _files(tmp_path)
    with pytest.raises(TargetGoneError, match="it has schema 0123456789ab, which MLflow"):
        MLflowSink(tracking_uri=store_uri).probe(WAIT_S)
    assert _files(tmp_path) == before


def test_a_store_in_files_that_this_mlflow_refuses_is_refused(tmp_path: Path) -> None:
    """In MLflow's own words, before any run is lost on it; and no folder is made."""
    with pytest.raises(TargetGoneError, match="maintenance mode"):
        MLflowSink(tracking_uri=str(tmp_path / "mlruns")).probe(WAIT_S)
    assert _files(tmp_path) == {}


def test_nobody_at_the_address_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was asked is said, and nothing of the password."""
    for key, value in MLflowSink.process_env.items():
        monkeypatch.setenv(key, value or "")
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match=f"no answer from http://{address}: ") as refused:
        MLflowSink(tracking_uri=f"http://me:hunter2@{address}").probe(WAIT_S)
    assert "hunter2" not in str(refused.value)


@pytest.mark.slow
def test_a_server_answers_for_what_was_named(server: str) -> None:
    """An experiment may still have to be made, a run has to be there."""
    assert MLflowSink(tracking_uri=server).probe(WAIT_S) == "the MLflow server answers"
    assert "and experiment 'Default' is there" in MLflowSink(tracking_uri=server, experiment="Default").probe(WAIT_S)
    assert "has no experiment 'none' yet" in MLflowSink(tracking_uri=server, experiment="none").probe(WAIT_S)
    with pytest.raises(SinkError, match="RESOURCE_DOES_NOT_EXIST"):
        MLflowSink(tracking_uri=server, run="0" * 32).probe(WAIT_S)
