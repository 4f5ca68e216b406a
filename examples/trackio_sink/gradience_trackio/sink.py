"""The sink: a line of the journal is a row of Trackio's, under an id that is the line's own, so that twice is once.

`trackio.init` and `trackio.log` are for a training: they queue rows for a thread, turn every failure into a warning and
give each call a new id. The storage below them takes ids from its caller, ignores one that it has, and fails aloud.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

from gradience.errors import ExtraMissingError, InputError, TargetGoneError, UnavailableError
from gradience.mirror import view
from gradience.mirror.sink import Batch, Position, Run, Tracked
from gradience.vnext.record import Record
from gradience.vnext.types import Alert, RunStatus, Severity

_NOTHING: Final = Position(0, "")  # of a run that was deleted: a cursor that says otherwise is told so
_LEVELS: Final = {Severity.INFO: "info", Severity.WARNING: "warn"}  # and "error" for what is worse


class TrackioSink:
    """Mirror runs into Trackio's store on this machine: TRACKIO_DIR, else Trackio's folder in the Hub's cache.

    Delivered means: committed to the project's database. Rows, configuration and position are one transaction; the
    alerts of a batch are one before it. Trackio has neither tags nor a status of a run: advice is part of the run's
    configuration, and a run whose recorder was killed gets an alert.

    Args:
        project: Trackio's project; letters, digits, `-` and `_`.
    """

    name: ClassVar[str] = "trackio"
    process_env: ClassVar[Mapping[str, str | None]] = {
        "TRACKIO_BUCKET_ID": None,  # with either of these, Trackio fetches from the Hub before it writes a row
        "TRACKIO_DATASET_ID": None,
    }

    def __init__(self, *, project: str = "gradience") -> None:
        if not project.replace("-", "").replace("_", "").isalnum():
            raise InputError(f"cannot mirror to Trackio's project {project!r}: letters, digits, - and _ are its names")
        self._project = project
        self._folder = _folder(os.environ)
        self._run: Run | None = None
        self._named = ""

    @property
    def target(self) -> str:
        """Trackio's folder and, after `#`, the project."""
        return f"{self._folder}#project={self._project}"

    def probe(self, timeout_s: float) -> str:
        """What is there, from the database itself: to open it by Trackio would create it."""
        if find_spec("trackio") is None:
            raise ExtraMissingError("The Trackio sink needs 'trackio', which is missing: pip install trackio.")
        database = self._folder / f"{self._project}.db"
        if not database.exists():
            return "there is no such project yet; the first run makes it"
        with _translated(f"Reading {database}"):
            address = f"{database.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=timeout_s)) as connection:
                (count,) = connection.execute("SELECT COUNT(DISTINCT run_id) FROM metrics").fetchone()
        return f"the project has {count} runs"

    def open(self, run: Run) -> Tracked:
        """Find the run by its id, which Trackio takes from us; its first row makes it."""
        with _translated(f"Opening Trackio's project {self._project}"):
            _check_name(self._project)
            named = [row["name"] for row in _storage().get_run_records(self._project) if row["id"] == run.run_id]
            self._run, self._named = run, next(iter(named), None) or _name(run)
            kept = self._config(run)
        return Tracked(
            id=run.run_id,
            url=f"http://127.0.0.1:7860/?project={quote(self._project)}",
            viewer=f"trackio show --project {self._project}",
            position=Position.parse(str(kept.get(view.CURSOR_TAG, ""))) or _NOTHING,
        )

    def deliver(self, batch: Batch) -> None:
        """Write the alerts, then everything else with the position."""
        if self._run is None:
            raise RuntimeError("TrackioSink.deliver was called before open")
        rows = list(view.rows(batch))
        with _translated(f"Writing to Trackio's project {self._project}"):
            self._alert([record for record in batch.records if isinstance(record.event, Alert)])
            _storage().bulk_log(
                self._project,
                self._named,
                [dict(row.values) for row in rows],
                steps=[row.record.event.step or 0 for row in rows],
                timestamps=[_time(row.record.event.ts) for row in rows],
                log_ids=[_id(row.record) for row in rows],
                run_id=self._run.run_id,
                config={**self._config(self._run), **_told(batch), **_trackio_fields(self._run)},
            )

    def close(self, status: RunStatus | None, timeout_s: float) -> None:  # noqa: ARG002 - a local store waits 10 s at most
        """Let go; a status is an alert of the run."""
        run, self._run = self._run, None
        if run is not None and status is not None:
            with _translated(f"Ending a run in Trackio's project {self._project}"):
                _storage().bulk_alert(
                    self._project,
                    self._named,
                    ["ENDED_WITHOUT_A_WORD"],
                    [f"Nobody recorded how this run ended; it counts as {status.value}"],
                    ["error" if status is RunStatus.ERROR else "warn"],
                    [None],
                    alert_ids=[f"{run.run_id}:end"],
                    run_id=run.run_id,
                )

    def _alert(self, records: list[Record]) -> None:
        alerts = [(record, record.event) for record in records if isinstance(record.event, Alert)]
        _storage().bulk_alert(
            self._project,
            self._named,
            [alert.code for _, alert in alerts],
            [alert.message for _, alert in alerts],
            [_LEVELS.get(alert.severity, "error") for _, alert in alerts],
            [alert.step for _, alert in alerts],
            timestamps=[_time(alert.ts) for _, alert in alerts],
            alert_ids=[_id(record) for record, _ in alerts],
            run_id=records[0].event.run_id if records else None,
        )

    def _config(self, run: Run) -> dict[str, Any]:
        """The run's configuration as it stands."""
        return _storage().get_run_config(self._project, run_id=run.run_id) or {}


def _storage() -> Any:
    try:
        from trackio.sqlite_storage import SQLiteStorage
    except ModuleNotFoundError as missing:
        raise ExtraMissingError(
            f"The Trackio sink needs {missing.name!r}, which is missing: pip install trackio."
        ) from None
    return SQLiteStorage


def _check_name(project: str) -> None:
    try:
        _storage().validate_project_name(project)
    except ValueError as error:
        raise InputError(f"cannot mirror to Trackio's project {project!r}: {error}") from None


@contextmanager
def _translated(action: str) -> Iterator[None]:
    """A failure as the drain understands it: a lock passes, a file that is no database stays one."""
    try:
        yield
    except PermissionError as error:
        raise TargetGoneError(f"{action}: {error.strerror}") from None
    except (OSError, sqlite3.OperationalError) as error:
        raise UnavailableError(f"{action}: {error}") from None
    except sqlite3.DatabaseError as error:
        raise TargetGoneError(f"{action}: {error}") from None


def _folder(environ: Mapping[str, str]) -> Path:
    """Where Trackio keeps its databases, by Trackio's own rule."""
    if given := environ.get("TRACKIO_DIR"):
        return Path(given).absolute()
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return (Path(environ.get("HF_HOME") or cache) / "trackio").absolute()


def _name(run: Run) -> str:
    """What the dashboard calls a run: the folder of its journal, and enough of its id to be one of a kind."""
    return f"{Path(run.journal).parent.name or 'run'}-{run.run_id[:8]}"


def _told(batch: Batch) -> dict[str, Any]:
    """What a batch says about its run as a whole, how far the journal was delivered included."""
    params = {key: value for record in batch.records for key, value in view.params(record).items()}
    return {**params, **view.batch_tags(batch), view.CURSOR_TAG: str(batch.position)}


def _trackio_fields(run: Run) -> dict[str, Any]:
    """What Trackio's own `init` adds, and its dashboard reads."""
    return {"_Username": None, "_Created": _time(run.started), "_Group": None}


def _id(record: Record) -> str:
    return f"{record.event.run_id}:{record.line}"


def _time(ts: float) -> str:
    return datetime.fromtimestamp(ts, timezone.utc).isoformat()
