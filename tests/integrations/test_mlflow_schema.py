"""Tests of `gradience_mlflow.schema`: a store of another MLflow version is left as it is."""

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest
from gradience_mlflow import MLflowSink

from gradience.errors import TargetGoneError, UnavailableError
from gradience.mirror.sink import Run

pytest.importorskip("mlflow")


def _database(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///"))


def _execute(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as store, store:
        store.execute(statement)


def test_a_store_of_another_version_is_refused_and_untouched(store_uri: str, run: Run) -> None:
    """One line that names the store, both schemas and the ways out; not a byte is changed."""
    database = _database(store_uri)
    _execute(database, "UPDATE alembic_version SET version_num = '0123456789ab'")
    before = database.read_bytes()
    with pytest.raises(TargetGoneError, match=r"mlflow.db: it has schema 0123456789ab, which MLflow .* would migrate"):
        MLflowSink(tracking_uri=store_uri).open(run)
    assert database.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_untouched(tmp_path: Path, run: Run) -> None:
    """MLflow would create its tables in it."""
    database = tmp_path / "other.db"
    _execute(database, "CREATE TABLE plants (name TEXT)")
    before = database.read_bytes()
    with pytest.raises(TargetGoneError, match=r"its schema is unknown; .* move this one away"):
        MLflowSink(tracking_uri=f"sqlite:///{database}").open(run)
    assert database.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, run: Run) -> None:
    """The message says which file, and that it is no store."""
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to look like the beginning of one" * 20)
    with pytest.raises(TargetGoneError, match="it is no sqlite store"):
        MLflowSink(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db").open(run)


def test_a_store_that_cannot_be_written_is_refused_at_once(tmp_path: Path, run: Run) -> None:
    """MLflow would try to open it for minutes."""
    (tmp_path / "file").touch()
    with pytest.raises(TargetGoneError, match="it cannot be written"):
        MLflowSink(tracking_uri=f"sqlite:///{tmp_path}/file/mlflow.db").open(run)


def test_a_store_that_is_being_created_is_unavailable(store_uri: str, run: Run) -> None:
    """Its schema moves while one looks: later it will be ours."""
    database = _database(store_uri)
    _execute(database, "UPDATE alembic_version SET version_num = 'first'")
    moved = Timer(0.3, _execute, (database, "UPDATE alembic_version SET version_num = 'second'"))
    moved.start()
    with pytest.raises(UnavailableError, match="creating or migrating"):
        MLflowSink(tracking_uri=store_uri).open(run)
    moved.join()


@pytest.mark.slow
def test_a_store_that_does_not_exist_is_created(tmp_path: Path, run: Run) -> None:
    """The embedded default needs no preparation."""
    tracked = MLflowSink().open(run)
    assert tracked.id
    assert (tmp_path / "mlflow.db").exists()
