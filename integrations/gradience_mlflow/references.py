"""`runs:/ID/path` and `models:/name@alias`, fetched by a process of its own, which alone imports MLflow."""

from collections.abc import Mapping
from typing import Final

from gradience.references import child
from gradience.references.reference import Reference
from gradience.references.resolver import Fetched

_ENV: Final[Mapping[str, str]] = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # somebody waits; MLflow's own 7 take 4 to 20 minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",
}


class MLflowResolver:
    """Fetches from the store of `Reference.tracker`, else from that which the MLflow sink would take."""

    def fetch(self, reference: Reference) -> Fetched:
        """The adapter's files, and the run that they belong to."""
        return child.fetch("gradience_mlflow.download:Download", reference, _ENV)
