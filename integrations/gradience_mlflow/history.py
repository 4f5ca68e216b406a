"""Runs that MLflow has, as what `gradience import` asks for; MLflow itself is imported when one is read."""

import os
from collections.abc import Mapping
from typing import Final

from gradience.history.history import History, Progress

_ENV: Final[Mapping[str, str]] = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # somebody waits; MLflow's own 7 take 4 to 20 minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",
}


class MLflowHistories:
    """The runs of a tracking server or store."""

    def read(self, address: str, *, tracking_uri: str | None, progress: Progress | None) -> History:
        """The run with the id `address`.

        Raises:
            InputError: there is no such run, or the server does not answer.
            ImportError: MLflow is not installed.
        """
        for name, value in _ENV.items():
            os.environ.setdefault(name, value)
        from gradience_mlflow import fetched

        return fetched.read(address, tracking_uri, progress)
