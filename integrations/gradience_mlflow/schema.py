"""May this MLflow open that sqlite store?

Only reading a store migrates it to the schema of the MLflow that reads, and the one it belongs to can never open it
again. So the store is looked at without MLflow first.
"""

import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

import mlflow

from gradience.errors import TargetGoneError, UnavailableError

_UNKNOWN: Final = "unknown"  # tables, and no word of the schema they follow
_STEP: Final = re.compile(r"^(down_)?revision(?::[^=]*)? *= *[\"'](\w+)[\"']", re.MULTILINE)
_SECOND_LOOK_S: Final = 1.0  # a store that is just being created changes its schema many times a second


def check(database: Path) -> None:
    """Pass a store of this MLflow's own schema, and one that does not exist yet.

    Raises:
        TargetGoneError: the store belongs to another version of MLflow, is none, or cannot be written.
        UnavailableError: another process is creating it, or holds it locked.
    """
    _check_writable(database)
    ours, found = _client_revision(), _revision(database)
    if found in (None, ours):
        return
    time.sleep(_SECOND_LOOK_S)
    again = _revision(database)
    if again not in (found, ours):
        raise UnavailableError(f"Opening {database}: another process is creating or migrating it.")
    compare(str(database), again)


def compare(store: str, found: str | None) -> None:
    """Pass a store whose tables follow this MLflow's own schema.

    Raises:
        TargetGoneError: they follow another one, or none that is known.
    """
    ours = _client_revision()
    if found == ours:
        return
    if found in (None, _UNKNOWN):
        raise TargetGoneError(
            f"Opening {store}: its schema is unknown; it belongs to another program, or MLflow was killed while it "
            "made it. Name another store, or move this one away."
        )
    raise TargetGoneError(
        f"Opening {store}: it has schema {found}, which MLflow {mlflow.__version__} here would migrate to {ours}, "
        "locking out the MLflow that made it. Use that MLflow's environment, or run `mlflow db upgrade` on it yourself."
    )


def _check_writable(database: Path) -> None:
    """MLflow itself would try again and again for minutes."""
    folder = next(folder for folder in database.parents if folder.exists())  # MLflow makes the missing ones
    places = [folder, *([database] if database.exists() else [])]
    if not folder.is_dir() or not all(os.access(place, os.W_OK) for place in places):
        raise TargetGoneError(f"Opening {database}: it cannot be written; mend its permissions, or name another store.")


def _client_revision() -> str:
    """The schema of the MLflow that is installed here: the one migration that no other builds upon."""
    scripts = (Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions").glob("*.py")
    steps = [_STEP.findall(script.read_text(encoding="utf-8")) for script in scripts]
    named = [(before, revision) for step in steps for before, revision in step]
    heads = {revision for before, revision in named if not before} - {revision for before, revision in named if before}
    return heads.pop() if len(heads) == 1 else _UNKNOWN


def _revision(database: Path) -> str | None:
    """The store's schema; None when there is nothing in it yet."""
    if not database.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as store:
            return _stored_revision(store)
    except sqlite3.OperationalError as error:
        raise UnavailableError(f"Opening {database}: {error}.") from None
    except sqlite3.DatabaseError as error:
        raise TargetGoneError(f"Opening {database}: it is no sqlite store ({error}).") from None


def _stored_revision(store: sqlite3.Connection) -> str | None:
    tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" not in tables:
        return _UNKNOWN if tables else None
    row = store.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else _UNKNOWN
