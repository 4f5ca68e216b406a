"""Whether a store answers, found out without writing into it: no database is made or migrated, no run is touched."""

import tempfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
import sqlalchemy
from alembic.migration import MigrationContext
from mlflow import MlflowClient

from gradience.errors import TargetGoneError
from gradience_mlflow import schema
from gradience_mlflow.faults import translated
from gradience_mlflow.locate import Wish
from gradience_mlflow.store import Store


def probe(store: Store, wish: Wish) -> str:
    """What answered, in one line.

    Raises:
        SinkError: nothing did, or not to us; or what `wish` names cannot be delivered to.
    """
    with translated(f"Asking the MLflow store {store.address}", opening=True):
        if store.database is not None:
            return _file(store.database)
        if store.is_database_server:
            return _database(store)
        if store.uri.startswith("file:"):
            return _folder(store)
        return f"the MLflow server answers{_found(MlflowClient(store.uri), wish)}"


def _file(database: Path) -> str:
    schema.check(database)
    if not database.exists() or not database.stat().st_size:
        return "there is no sqlite store yet; the first run makes it"
    return f"the sqlite store is of MLflow {mlflow.__version__}'s schema and can be written"


def _database(store: Store) -> str:
    """MLflow would migrate a database as it connects, so it is only asked for its schema."""
    engine = sqlalchemy.create_engine(store.uri)
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            tables = sqlalchemy.inspect(connection).get_table_names()
    finally:
        engine.dispose()
    if not tables:
        return "the database answers and is empty; the first run makes its tables"
    schema.compare(store.address, found)
    return f"the database answers and is of MLflow {mlflow.__version__}'s schema"


def _folder(store: Store) -> str:
    """A store in files, which MLflow makes as it opens one that is not there: so another one is opened then."""
    there = Path(url2pathname(urlsplit(store.uri).path))
    with tempfile.TemporaryDirectory() as elsewhere:
        client = MlflowClient((there if there.is_dir() else Path(elsewhere)).as_uri())
        client.search_experiments(max_results=1)
    return "the store in files can be read" if there.is_dir() else "there is no store yet; the first run makes it"


def _found(client: MlflowClient, wish: Wish) -> str:
    """What is there of that which was named, once the server has shown that it lets us look."""
    client.search_experiments(max_results=1)
    if wish.run:
        run = client.get_run(wish.run)
        if run.info.lifecycle_stage == "deleted":
            raise TargetGoneError(f"MLflow run {wish.run} is deleted: restore it, or name another.")
        return f", and run {wish.run} is there"
    if not wish.experiment:
        return ""
    experiment = client.get_experiment_by_name(wish.experiment)
    if experiment is None:
        return f"; it has no experiment {wish.experiment!r} yet, which the first run makes"
    if experiment.lifecycle_stage == "deleted":
        raise TargetGoneError(f"MLflow experiment {wish.experiment!r} is deleted: restore it, or name another.")
    return f", and experiment {wish.experiment!r} is there"
