"""One open tracked run: batches in, requests out; by run id alone, so that the user's own MLflow state is untouched."""

from collections.abc import Callable, Mapping
from concurrent import futures
from pathlib import Path
from threading import Thread

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as TrackedRun

from gradience.errors import UnavailableError
from gradience.mirror import standing
from gradience.mirror.artifacts import Kind
from gradience.mirror.sink import Batch, Position, Run, Tracked
from gradience.mirror.view import RUN_ID_TAG
from gradience.vnext.types import RunStatus
from gradience_mlflow import contents, creation, limits, locate, models, schema
from gradience_mlflow.artifacts import Artifacts
from gradience_mlflow.contents import Contents, Phase
from gradience_mlflow.faults import translated
from gradience_mlflow.keys import Names
from gradience_mlflow.limits import Request
from gradience_mlflow.locate import Wish
from gradience_mlflow.store import Store


def connect(store: Store) -> MlflowClient:
    """A client of the store, which is left as it is when it belongs to another version of MLflow.

    Raises:
        TargetGoneError: it does, or MLflow cannot use it.
        UnavailableError: it cannot be reached.
    """
    if store.database is not None:
        schema.check(store.database)
    with translated(f"Opening the MLflow store {store.address}", opening=True):
        creation.create(store)
        return MlflowClient(tracking_uri=store.uri)


class Session:
    """The tracked run of one `run_id` in one store."""

    def __init__(self, client: MlflowClient, store: Store, wish: Wish, run: Run, kinds: frozenset[Kind]) -> None:
        self._client = client
        found = locate.tracked_run(client, run, wish)
        self._id = found.info.run_id
        self._ours = locate.is_ours(found, run.run_id)
        self._cursor_tag = locate.cursor_tag(found, run.run_id)
        self._names = Names(found.data.tags, found.data.metrics)
        self._artifacts = Artifacts(client, Path(run.journal), kinds)
        self._last_ts: float | None = None
        self._claim(found, run.run_id)
        self.tracked = Tracked(
            id=self._id,
            url=store.page and f"{store.page}/#/experiments/{found.info.experiment_id}/runs/{self._id}/model-metrics",
            viewer=store.viewer,
            position=Position.parse(found.data.tags.get(self._cursor_tag, "")),
        )

    def deliver(self, batch: Batch) -> None:
        """Write a batch; its position goes into the last request, which is taken as a whole or not at all."""
        lines = f"{batch.records[0].line} to {batch.records[-1].line}"
        with translated(f"Delivering lines {lines} to MLflow run {self._id}"):
            run = self._look(batch)
            batch = standing.in_light_of(batch, run.data.tags) if run else batch
            found = contents.contents(batch, self._names, run.data.params if run else {})
            tags = {**found.tags, **self._publish(batch, run), self._cursor_tag: str(batch.position)}
            self._enter(contents.phase(batch), run)
            if run:
                models.tag(self._client, run, batch)
            self._send(found, tags)
        self._artifacts.delivered(batch)
        self._last_ts = batch.records[-1].event.ts

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """End the run if it is ours and still runs."""
        if status is not None and self._ours:
            _within(timeout_s, lambda: self._end(status), f"Ending MLflow run {self._id}")

    def _claim(self, found: TrackedRun, run_id: str) -> None:
        """Tag a run that we attach to, so that any other process finds it too."""
        if RUN_ID_TAG not in found.data.tags:
            with translated(f"Attaching to MLflow run {self._id}", opening=True):
                self._client.set_tag(self._id, RUN_ID_TAG, limits.text(run_id, limits.TAG), synchronous=True)

    def _look(self, batch: Batch) -> TrackedRun | None:
        """The run as it is now, for a batch that depends on it."""
        needed = contents.starts(batch) or self._artifacts.brings(batch) or standing.brings(batch)
        return self._client.get_run(self._id) if needed else None

    def _publish(self, batch: Batch, run: TrackedRun | None) -> Mapping[str, str]:
        return self._artifacts.publish(run, batch) if run and self._artifacts.brings(batch) else {}

    def _enter(self, phase: Phase | None, run: TrackedRun | None) -> None:
        """Bring a run of ours into a phase; a run of somebody else's keeps its status and times."""
        if phase is None or not self._ours:
            return
        if phase.ended is not None:
            self._client.set_terminated(self._id, phase.status, phase.ended)
        elif run and run.info.status != phase.status:
            self._client.update_run(self._id, status=phase.status)

    def _send(self, found: Contents, tags: Mapping[str, str]) -> None:
        for request in limits.requests(found.metrics, found.params, tags):
            _log(self._client, self._id, request)

    def _end(self, status: RunStatus) -> None:
        with translated(f"Ending MLflow run {self._id}"):
            if self._client.get_run(self._id).info.status in ("RUNNING", "SCHEDULED"):
                ended = None if self._last_ts is None else limits.milliseconds(self._last_ts)
                self._client.set_terminated(self._id, contents.ended(status), ended)


def _log(client: MlflowClient, run_id: str, request: Request) -> None:
    client.log_batch(
        run_id,
        metrics=[Metric(row.key, row.value, row.ts, row.step) for row in request.metrics],
        params=[Param(key, value) for key, value in request.params.items()],
        tags=[RunTag(key, value) for key, value in request.tags.items()],
        synchronous=True,
    )


def _within(timeout_s: float, act: Callable[[], None], what: str) -> None:
    """Do something in a thread of its own, and leave it behind when it takes longer.

    Raises:
        UnavailableError: it did.
    """
    outcome: futures.Future[None] = futures.Future()

    def work() -> None:
        try:
            act()
            outcome.set_result(None)
        except Exception as error:  # noqa: BLE001  # handed to the caller by `result`
            outcome.set_exception(error)

    Thread(target=work, name="gradience-mlflow-close", daemon=True).start()
    try:
        outcome.result(max(timeout_s, 0.0))
    except futures.TimeoutError:
        raise UnavailableError(f"{what}: no answer within {timeout_s:g} s.") from None
