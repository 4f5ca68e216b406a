"""A run that MLflow has, as the events of a journal: parameters, every point of every metric, and how it ended."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException

from gradience.errors import InputError
from gradience.history import logged
from gradience.history.history import History, Progress
from gradience.history.logged import Point
from gradience.settings import snapshot
from gradience_mlflow import store
from gradience_mlflow.faults import plain

STATUS: Final[Mapping[str, str]] = {"FINISHED": "ok", "FAILED": "error", "KILLED": "aborted"}
RUN_ID: Final = "gradience.run_id"
_META: Final = "meta."
_OURS: Final = re.compile(r"(?:optimizer|lora|training)\.")  # somebody else's dots part nothing


def read(address: str, tracking_uri: str | None, progress: Progress | None) -> History:
    """The run with this id; its metrics are fetched at once, one after the other.

    Raises:
        InputError: there is no such run, or the server does not answer.
    """
    found = store.resolve(tracking_uri, os.environ, Path.cwd())
    client = MlflowClient(found.uri)
    try:
        run = client.get_run(address)
        points = list(_points(client, run, progress))
    except MlflowException as error:
        raise InputError(
            f"cannot import mlflow:{address} from {found.address}: {plain(error)}; check the id and --tracking-uri"
        ) from None
    left = sorted({point.name for point in points if logged.place(point.name) is None})
    notes = [f"left out, as they are about the machine: {', '.join(left)}"] if left else []
    if run.info.lifecycle_stage == LifecycleStage.DELETED:
        notes.append("MLflow has it as deleted")
    return History(
        origin=f"mlflow:{found.address}#{run.info.run_id}",
        run_id=run.data.tags.get(RUN_ID),
        events=_events(run, points),
        notes=tuple(notes),
    )


def _points(client: MlflowClient, run: Run, progress: Progress | None) -> Iterator[Point]:
    names = sorted(run.data.metrics)
    for done, name in enumerate(names, start=1):
        for metric in client.get_metric_history(run.info.run_id, name):
            yield Point(name, metric.value, metric.step, metric.timestamp / 1000)
        if progress is not None:
            progress(done, len(names))


def _events(run: Run, points: list[Point]) -> Iterator[dict[str, Any]]:
    started = run.info.start_time / 1000
    config, meta = _told(run)
    yield {"ts": started, "event": "run_start", "step": None, "config": config, "meta": meta}
    yield from logged.events(points)
    status = STATUS.get(run.info.status)
    if status is not None:
        ended = (run.info.end_time or run.info.start_time) / 1000
        yield {"ts": ended, "event": "run_end", "step": None, "status": status}


def _told(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration and what else is known, from parameters under flat or dotted names."""
    params = dict(run.data.params)
    meta = _nested({key.removeprefix(_META): value for key, value in params.items() if key.startswith(_META)})
    settings = {key: value for key, value in params.items() if not key.startswith(_META)}
    config = snapshot.canonical(_nested(settings) if any(map(_OURS.match, settings)) else settings)
    return config, {**meta, "imported_from": "mlflow", "run_name": run.info.run_name}


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as a tree; `a.b` beside a parameter `a` stays as it is."""
    tree: dict[str, Any] = {}
    for name in sorted(flat):
        *above, last = name.split(".")
        here: Any = tree
        for part in above:
            here = here.setdefault(part, {}) if isinstance(here, dict) else here
        if isinstance(here, dict):
            here[last] = flat[name]
        else:
            tree[name] = flat[name]
    return tree
