"""The sink as the registry loads it; MLflow itself is imported by the first `open`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from gradience.errors import ExtraMissingError
from gradience.mirror.artifacts import DEFAULT, Kind, chosen
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.vnext.types import RunStatus
from gradience_mlflow import active, store

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from gradience_mlflow.session import Session

_ENV: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the drain retries; MLflow's own 7 take 4 to 20 minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # else a server decides how long a call blocks
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout belongs to data
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # the creation of a store says some fifty lines at INFO
    "GIT_PYTHON_REFRESH": "quiet",
}


class MLflowSink:
    """Mirror runs into MLflow.

    Args:
        tracking_uri: the store; else MLFLOW_TRACKING_URI, else MLflow's default, an sqlite file in the working
            directory.
        experiment: where a new run goes; else MLFLOW_EXPERIMENT_NAME or _ID, else the journal's `meta.experiment`,
            else "Default".
        run: id of the tracked run to attach to, whatever is found otherwise.
        active_run: id of the run that is active in the recorder's process; else MLFLOW_RUN_ID. It is attached to
            where neither a tag nor the cursor leads to another.
        artifacts: the kinds of files to upload, of `audit`, `report` and `telemetry` (the journal itself, once its
            run is over).
    """

    name: ClassVar[str] = "mlflow"
    process_env: ClassVar[Mapping[str, str | None]] = _ENV

    def __init__(
        self,
        *,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        run: str | None = None,
        active_run: str | None = None,
        artifacts: Sequence[Kind] = DEFAULT,
    ) -> None:
        self._given = tracking_uri
        self._active_run = active_run
        self._store = store.resolve(tracking_uri, os.environ, Path.cwd())
        self._experiment = experiment
        self._run = run
        self._artifacts = chosen(artifacts)
        self._client: MlflowClient | None = None
        self._session: Session | None = None

    @property
    def target(self) -> str:
        """Address of the store, then `#run=...` or `#experiment=...` where one was named."""
        if self._run:
            return f"{self._store.address}#run={self._run}"
        named = self._experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        return f"{self._store.address}#experiment={named}" if named else self._store.address

    def at(self, target: str) -> "MLflowSink | None":
        """The sink for a target of another one; None when the store of this one was named, or is there already."""
        if store.is_named(self._given, os.environ, Path.cwd()):
            return None
        address, _, choice = target.partition("#")
        kind, _, value = choice.partition("=")
        return MLflowSink(
            tracking_uri=address,
            experiment=self._experiment or (value if kind == "experiment" else None),
            run=self._run or (value if kind == "run" else None),
            active_run=self._active_run,
            artifacts=tuple(self._artifacts),
        )

    def active_run(self) -> Mapping[str, str]:
        """The options that lead a sink in another process to the run that is active in this one."""
        return active.options(self._given)

    def probe(self, timeout_s: float) -> str:  # noqa: ARG002 - each request is bounded by `process_env`
        """What answers at the store, which stays as it is.

        Raises:
            ExtraMissingError: MLflow is not installed here.
        """
        try:
            from gradience_mlflow import probing
            from gradience_mlflow.locate import Wish
        except ModuleNotFoundError as missing:
            raise _missing(missing) from None
        return probing.probe(self._store, Wish.read(self._experiment, self._run, os.environ))

    def open(self, run: Run) -> Tracked:
        """Attach to the run's tracked run, or create it.

        For a database `Tracked.url` is valid once `Tracked.viewer` serves its default port.

        Raises:
            ExtraMissingError: MLflow is not installed here.
        """
        try:
            from gradience_mlflow.locate import Wish
            from gradience_mlflow.session import Session, connect

            self._client = self._client or connect(self._store)
        except ModuleNotFoundError as missing:
            raise _missing(missing) from None
        wish = Wish.read(self._experiment, self._run, os.environ)
        if self._active_run:
            wish = msgspec.structs.replace(wish, inherited_run=self._active_run)
        self._session = Session(self._client, self._store, wish, run, self._artifacts)
        return self._session.tracked

    def deliver(self, batch: Batch) -> None:
        """Write the batch and, in its last request, its position."""
        if self._session is None:
            raise RuntimeError("MLflowSink.deliver was called before open")
        self._session.deliver(batch)

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """Let go; a status ends the tracked run, if Gradience created it and it still runs."""
        session, self._session = self._session, None
        if session is not None:
            session.close(status, timeout_s)


def _missing(library: ModuleNotFoundError) -> ExtraMissingError:
    return ExtraMissingError(f"The MLflow sink needs {library.name!r}, which is missing: pip install 'mlflow>=2.22'.")
