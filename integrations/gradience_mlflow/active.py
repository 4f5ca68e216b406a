"""The run that is active in this process: found without importing MLflow, which a training may never have done."""

import sys
from pathlib import Path

from gradience_mlflow.store import resolve


def options(tracking_uri: str | None) -> dict[str, str]:
    """The options that lead a sink in another process to the active run; none where nothing is active.

    MLflow keeps active runs by thread: only the caller's is found, and not one in another store than `tracking_uri`.
    """
    mlflow = sys.modules.get("mlflow")
    run = mlflow.active_run() if mlflow is not None else None
    if mlflow is None or run is None:
        return {}
    uri = mlflow.get_tracking_uri()
    if tracking_uri is not None and resolve(tracking_uri, {}, Path.cwd()) != resolve(uri, {}, Path.cwd()):
        return {}
    return {"tracking_uri": uri, "active_run": run.info.run_id}
