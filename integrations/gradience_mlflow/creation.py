"""A new sqlite store, made whole or not at all.

MLflow takes seconds over its tables, and a process that is killed meanwhile leaves a store that nobody can open again.
So the store is made under another name, and gets its own when it is done.
"""

import os
import tempfile
from pathlib import Path

from mlflow import MlflowClient

from gradience_mlflow.store import Store


def create(store: Store) -> None:
    """Make the database of a store that has none yet; if another process makes one meanwhile, that one stays."""
    database = store.database
    if database is None or database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{database.name}-", dir=database.parent, ignore_cleanup_errors=True
    ) as folder:
        made = Path(folder) / database.name
        MlflowClient(store.at(made).uri).search_experiments(max_results=1)  # the first question makes the tables
        _publish(made, database)


def _publish(made: Path, database: Path) -> None:
    try:
        os.link(made, database)  # unlike a renaming, it never replaces what is there
    except OSError:
        if not database.exists():  # a file system without links
            made.rename(database)
