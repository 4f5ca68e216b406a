"""Tests of `gradience_mlflow.store`: which MLflow store is meant."""

from pathlib import Path

import pytest
from gradience_mlflow import MLflowSink
from gradience_mlflow.store import resolve

from gradience.errors import InputError
from gradience.mirror.sync import sync
from gradience.testing import samples

CWD = Path("/home/someone/project")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///mlflow.db", "sqlite:////home/someone/project/mlflow.db"),
        ("sqlite:////data/a b/mlflow.db", "sqlite:////data/a b/mlflow.db"),
        ("http://host:5000/", "http://host:5000"),
        ("https://host/mlflow/", "https://host/mlflow"),
        ("mlruns", "file:///home/someone/project/mlruns"),
        ("./mlruns", "file:///home/someone/project/mlruns"),
        ("file:mlruns", "file:///home/someone/project/mlruns"),
        ("file:///data/mlruns", "file:///data/mlruns"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks://profile"),
    ],
)
def test_an_address_is_absolute(given: str, expected: str) -> None:
    """The same store has the same address from every directory."""
    assert resolve(given, {}, CWD).address == expected


def test_a_store_in_another_file_keeps_its_driver_and_options() -> None:
    """All but the place is part of how it is opened."""
    store = resolve("sqlite+pysqlite:////data/mlflow.db?timeout=9", {}, CWD)
    assert store.at(Path("/new/file.db")).uri == "sqlite+pysqlite:////new/file.db?timeout=9"


def test_the_option_wins_over_the_environment() -> None:
    """What was named is meant."""
    environ = {"MLFLOW_TRACKING_URI": "http://elsewhere"}
    assert resolve("http://here", environ, CWD).uri == "http://here"
    assert resolve(None, environ, CWD).uri == "http://elsewhere"


def test_the_default_is_mlflows_own(tmp_path: Path) -> None:
    """An sqlite file in the working directory, unless that holds experiments of the older file store."""
    assert resolve(None, {}, tmp_path).uri == f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlruns" / "0" / "meta.yaml").touch()
    assert resolve(None, {}, tmp_path).uri == f"file://{tmp_path}/mlruns"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://user:secret@host:5000/ui", "https://host:5000/ui"),
        ("https://host?token=secret", "https://host"),
        ("postgresql://user:secret@host/db?password=secret", "postgresql://host/db"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_an_address_has_no_credentials(given: str, shown: str) -> None:
    """User, password and query reach MLflow alone."""
    store = resolve(given, {}, CWD)
    assert store.address == shown
    assert store.uri == given


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://user:secret@host/ui/", "https://host/ui"),
        ("sqlite:///mlflow.db", "http://127.0.0.1:5000"),
        ("databricks", None),
    ],
)
def test_a_page_is_where_the_store_is_shown(given: str, expected: str | None) -> None:
    """A server shows itself, a database is shown by `mlflow ui`, and of other places we know nothing."""
    assert resolve(given, {}, CWD).page == expected


def test_from_another_directory_the_journal_goes_where_it_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's default store depends on the working directory; the tracked run of a journal must not."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    journal = samples.write(tmp_path / "run.jsonl", samples.steps("r", 1, 3))
    monkeypatch.chdir(tmp_path / "one")
    first = sync(journal, MLflowSink())
    monkeypatch.chdir(tmp_path / "two")
    assert sync(journal, MLflowSink()).runs == first.runs
    assert list(Path.cwd().iterdir()) == []


def test_a_named_store_is_taken_wherever_a_journal_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option, the environment and a store in the working directory each say which store is meant."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    led = MLflowSink().at("sqlite:///elsewhere.db#experiment=e")
    assert led is not None
    assert led.target == f"sqlite:///{tmp_path}/elsewhere.db#experiment=e"
    assert MLflowSink(tracking_uri="http://host").at("sqlite:///elsewhere.db") is None
    (tmp_path / "mlflow.db").touch()
    assert MLflowSink().at("sqlite:///elsewhere.db") is None


def test_a_database_names_the_command_that_shows_it() -> None:
    """A link that nothing serves yet comes with what serves it, and without credentials."""
    assert resolve("sqlite:///m.db", {}, CWD).viewer == f"mlflow ui --backend-store-uri sqlite:///{CWD}/m.db"
    assert "secret" not in (resolve("postgresql://user:secret@host/db", {}, CWD).viewer or "")
    assert resolve("http://host", {}, CWD).viewer is None


def test_a_target_names_store_and_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sinks share a cursor exactly when they write to the same place."""
    assert MLflowSink(tracking_uri="http://host/").target == "http://host"
    assert MLflowSink(tracking_uri="http://host", experiment="e").target == "http://host#experiment=e"
    assert MLflowSink(tracking_uri="http://host", experiment="e", run="r").target == "http://host#run=r"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "e")
    assert MLflowSink(tracking_uri="http://host").target == "http://host#experiment=e"


@pytest.mark.parametrize(
    "given",
    [
        "http://me:hunter/2@host",
        "https://me:hunter#2@host:1",
        "postgresql://me:hunter?2@host/x",
        "me:hunter2@host",
        "http:/me:hunter2@h",
    ],
)
def test_an_address_whose_password_cannot_be_told_is_not_shown(given: str) -> None:
    """Part of it would pass for a port or a path, and be kept in cursors."""
    with pytest.raises(InputError, match="write it as https://USER:PASSWORD@HOST:PORT") as refused:
        resolve(given, {}, CWD)
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize(
    "given", ["http://[::1]:5000", "https://host", "./runs@home", "sqlite:////a@b/mlflow.db", "uc:x"]
)
def test_an_address_without_one_is_taken(given: str) -> None:
    """An @ in a path is nobody's password."""
    assert resolve(given, {}, CWD).uri


@pytest.mark.parametrize("uri", ["localhost:5000", "ml-1.example.org:80/", "127.0.0.1:5000"])
def test_a_server_without_a_scheme_is_refused_with_what_is_meant(uri: str) -> None:
    """MLflow answers that with a list of the schemes that it knows."""
    with pytest.raises(InputError, match=f"cannot use the MLflow address {uri}: write it as http://{uri}"):
        resolve(uri, {}, CWD)
