"""Tests of `gradience_mlflow.session` and `contents`: what arrives in a real sqlite store."""

import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from gradience_mlflow import MLflowSink

from gradience.errors import ExtraMissingError, RejectedError, TargetGoneError
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.testing import check_sink
from gradience.vnext.types import RunStatus

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytest.importorskip("mlflow")

MakeBatch = Callable[..., Batch]
START_MS = 1_700_000_000_000


def _start(**config: Any) -> dict[str, Any]:
    return {"event": "run_start", "config": config}


def _step(step: int, **values: Any) -> dict[str, Any]:
    return {"event": "train_step", "step": step, **values}


def _end(status: str) -> dict[str, Any]:
    return {"event": "run_end", "status": status}


def _deliver(uri: str, run: Run, *batches: Batch, into: str | None = None) -> Tracked:
    """Deliver from a sink of its own, as a process of its own would."""
    sink = MLflowSink(tracking_uri=uri, run=into)
    tracked = sink.open(run)
    for batch in batches:
        sink.deliver(batch)
    sink.close(None, 5)
    return tracked


def _rows(uri: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as store:
        return sorted(store.execute("SELECT key, value, step, timestamp FROM metrics"))


def test_metrics_keep_step_and_time(store_uri: str, run: Run, batch: MakeBatch) -> None:
    """A point stands at the event's own step and millisecond; one without a step stands at 0."""
    events = _step(3, loss=2.5, lr=[0.1, 0.2]), {"event": "eval", "split": "test", "metrics": {"accuracy": 0.5}}
    _deliver(store_uri, run, batch(*events))
    assert _rows(store_uri) == [
        ("eval/test/accuracy", 0.5, 0, START_MS + 2000),
        ("train/loss", 2.5, 3, START_MS + 1000),
        ("train/lr_0", 0.1, 3, START_MS + 1000),
        ("train/lr_1", 0.2, 3, START_MS + 1000),
    ]


def test_every_kind_of_event_has_its_place(store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch) -> None:
    """Config and meta become params, alerts tags and counts, advice tags, the end a status."""
    events = (
        {"event": "run_start", "config": {"lora": {"r": 8}}, "meta": {"host": "h"}},
        {"event": "alert", "step": 2, "severity": "warning", "code": "LR_HIGH", "message": "High"},
        {"event": "metrics", "step": 2, "kind": "spectral", "metrics": {"kappa_mean": 3.0}},
        {"event": "recommendation", "step": 2, "recommendations": [], "verdict": "review", "codes": ["a", "b"]},
        {"event": "of_a_later_version", "step": 3, "anything": [1, 2, 3]},
        _end("ok"),
    )
    tracked = client.get_run(_deliver(store_uri, run, batch(*events)).id)
    tags = tracked.data.tags
    assert tracked.data.params == {"lora.r": "8", "meta.host": "h"}
    assert tracked.data.metrics == {"alerts/warning": 1.0, "spectral/kappa_mean": 3.0}
    assert tags["gradience.alert.LR_HIGH"] == "warning at step 2: High"
    assert (tags["gradience.verdict"], tags["gradience.codes"]) == ("review", "a,b")
    assert (tracked.info.status, tracked.info.end_time) == ("FINISHED", START_MS + 6000)


def test_a_created_run_tells_who_made_it(store_uri: str, client: "MlflowClient", run: Run) -> None:
    """Name, user, source and time are set as MLflow's own integrations set them."""
    tracked = client.get_run(_deliver(store_uri, run).id)
    tags = tracked.data.tags
    assert (tracked.info.run_name, tracked.info.start_time, tracked.info.status) == ("demo", START_MS, "RUNNING")
    assert (tags["gradience.run_id"], tags["gradience.created_by"]) == ("run-1", "gradience")
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == (run.journal, "LOCAL")
    assert tags["mlflow.user"]


def test_delivering_again_changes_nothing(store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch) -> None:
    """A batch in doubt may come again, whole or in other pieces."""
    events = [_start(lora={"r": 8}), *(_step(n, loss=1.0 / n, **{"top@5": 1}) for n in range(1, 20)), _end("error")]
    tracked = _deliver(store_uri, run, batch(*events))
    rows, first = _rows(store_uri), client.get_run(tracked.id)
    pieces = [batch(*events[place : place + 4], first=place + 1) for place in range(0, len(events), 4)]
    _deliver(store_uri, run, *pieces, batch(*events))
    again = client.get_run(tracked.id)
    assert _rows(store_uri) == rows
    assert (again.data.tags, again.data.params, dict(again.info)) == (
        first.data.tags,
        first.data.params,
        dict(first.info),
    )


def test_the_position_is_remembered_by_the_run(store_uri: str, run: Run, batch: MakeBatch) -> None:
    """A journal that lost its cursor goes on where the tracked run says."""
    delivered = batch(_step(1, loss=1.0))
    assert _deliver(store_uri, run, delivered).position is None
    assert _deliver(store_uri, run).position == delivered.position


def test_a_rejected_batch_leaves_no_position(store_uri: str, run: Run, batch: MakeBatch) -> None:
    """What MLflow will never take is named as such, and the position stays before it."""
    good, bad = batch(_step(1, loss=1.0)), batch(_step(2, loss=1.0), _step(3, ts=-5.0, loss=1.0), first=2)
    with pytest.raises(RejectedError, match="Delivering lines 2 to 3 to MLflow run"):
        _deliver(store_uri, run, good, bad)
    assert _deliver(store_uri, run).position == good.position


def test_large_batches_are_split(store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch) -> None:
    """More metrics, params and tags than a request may hold arrive all the same."""
    many = {f"key{n}": n for n in range(250)}
    alerts = [{"event": "alert", "severity": "info", "code": f"C{n}", "message": "m"} for n in range(250)]
    tracked = _deliver(store_uri, run, batch(_start(extras=many), *(_step(n, **many) for n in range(1, 5)), *alerts))
    found = client.get_run(tracked.id)
    assert len(_rows(store_uri)) == 4 * 250 + 250
    assert len(found.data.params) == 250
    assert sum(key.startswith("gradience.alert.") for key in found.data.tags) == 250


def test_long_values_are_cut(store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch) -> None:
    """A text over MLflow's limit of 6000 or 8000 characters arrives with a visible end."""
    alert = {"event": "alert", "severity": "info", "code": "C", "message": "y" * 10_000}
    found = client.get_run(_deliver(store_uri, run, batch(_start(notes="x" * 10_000), alert)).id)
    assert found.data.params["notes"] == "x" * 5999 + "…"
    assert len(found.data.tags["gradience.alert.C"]) == 8000


def test_foreign_keys_arrive_under_names_of_their_own(
    store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch
) -> None:
    """Keys that MLflow refuses are mapped, and colliding ones stay apart, in a later process too."""
    tracked = _deliver(store_uri, run, batch(_step(1, **{"top@5": 1.0, "a" * 300: 2.0})))
    _deliver(store_uri, run, batch(_step(1, **{"top#5": 3.0, "top_5": 4.0, "top@5": 1.0}), first=1))
    found = client.get_run(tracked.id)
    assert sorted(found.data.metrics.values()) == [1.0, 2.0, 3.0, 4.0]
    assert found.data.metrics["train/top_5"] == 1.0
    assert found.data.tags["gradience.key.train/top_5"] == "train/top@5"


def test_non_finite_values_become_tags(store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch) -> None:
    """NaN and infinity break MLflow's charts: no point, a tag."""
    found = client.get_run(_deliver(store_uri, run, batch(_step(7, loss=float("nan"), lr=0.1))).id)
    assert found.data.metrics == {"train/lr": 0.1}
    assert found.data.tags["gradience.nonfinite.train/loss"] == "NaN at step 7"


def test_params_stay_and_a_conflict_is_told(store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch) -> None:
    """A resume with other settings keeps the first ones and says so in a tag."""
    _deliver(store_uri, run, batch(_start(training={"seed": 1, "max_steps": 10})))
    tracked = _deliver(store_uri, run, batch(_start(training={"seed": 1, "max_steps": 20}, notes="n"), first=2))
    found = client.get_run(tracked.id)
    assert found.data.params == {"training.seed": "1", "training.max_steps": "10", "notes": "n"}
    assert found.data.tags["gradience.param_conflict"] == "training.max_steps: 10, then 20"


@pytest.mark.parametrize(
    ("status", "expected"), [("ok", "FINISHED"), ("aborted", "KILLED"), ("error", "FAILED"), ("done", "FINISHED")]
)
def test_the_end_is_the_runs_own(
    store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch, status: str, expected: str
) -> None:
    """Status and end time come from run_end."""
    found = client.get_run(_deliver(store_uri, run, batch(_end(status))).id)
    assert (found.info.status, found.info.end_time) == (expected, START_MS + 1000)


def test_a_resumed_run_is_running_again(store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch) -> None:
    """A second run_start undoes the end; the last event of a batch decides."""
    tracked = _deliver(store_uri, run, batch(_start(), _end("error")))
    _deliver(store_uri, run, batch(_start(), first=3))
    assert client.get_run(tracked.id).info.status == "RUNNING"
    _deliver(store_uri, run, batch(_end("ok"), first=4))
    assert client.get_run(tracked.id).info.status == "FINISHED"


def test_closing_with_a_status_ends_a_run_that_never_did(
    store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch
) -> None:
    """A killed training's run is closed as failed, at the time of its last line."""
    sink = MLflowSink(tracking_uri=store_uri)
    tracked = sink.open(run)
    sink.deliver(batch(_start(), _step(1, loss=1.0)))
    sink.close(RunStatus.ERROR, 30)
    found = client.get_run(tracked.id)
    assert (found.info.status, found.info.end_time) == ("FAILED", START_MS + 2000)


def test_closing_with_a_status_keeps_an_end_that_was_told(
    store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch
) -> None:
    """The run's own words win."""
    sink = MLflowSink(tracking_uri=store_uri)
    tracked = sink.open(run)
    sink.deliver(batch(_end("ok"), _step(1, loss=1.0)))
    sink.close(RunStatus.ERROR, 30)
    assert client.get_run(tracked.id).info.status == "FINISHED"


def test_an_attached_run_keeps_status_name_and_times(
    store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch
) -> None:
    """Somebody else's run gets our numbers and tags, nothing else changes."""
    theirs = client.create_run("0", start_time=5, run_name="theirs", tags={"mlflow.parentRunId": "p"})
    client.set_terminated(theirs.info.run_id, "FAILED", 9)
    before = client.get_run(theirs.info.run_id)
    sink = MLflowSink(tracking_uri=store_uri, run=theirs.info.run_id)
    sink.open(run)
    sink.deliver(batch(_start(), _step(1, loss=1.0), _end("ok")))
    sink.close(RunStatus.OK, 30)
    after = client.get_run(theirs.info.run_id)
    assert dict(after.info) == dict(before.info)
    assert after.data.tags.items() >= before.data.tags.items()
    assert after.data.metrics == {"train/loss": 1.0}


def test_advice_about_an_older_step_never_replaces_newer(
    store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch
) -> None:
    """Neither within a journal nor when another journal speaks about the same tracked run."""
    advice = {"event": "recommendation", "recommendations": []}
    tracked = _deliver(store_uri, run, batch({**advice, "step": 500, "verdict": "review"}))
    other = msgspec.structs.replace(run, run_id="run-2")
    older = batch({**advice, "step": 100, "verdict": "ok"}, run_id="run-2")
    _deliver(store_uri, other, older, into=tracked.id)
    assert client.get_run(tracked.id).data.tags["gradience.verdict"] == "review"
    newer = batch({**advice, "step": 900, "verdict": "act"}, run_id="run-2", first=2)
    _deliver(store_uri, other, newer, into=tracked.id)
    tags = client.get_run(tracked.id).data.tags
    assert (tags["gradience.verdict"], tags["gradience.advice_step"]) == ("act", "900")


def test_a_deleted_run_is_gone(store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch) -> None:
    """Deletion is a person's decision: nothing is created in its place, during delivery or after."""
    sink = MLflowSink(tracking_uri=store_uri)
    tracked = sink.open(run)
    client.delete_run(tracked.id)
    with pytest.raises(TargetGoneError, match=f"Delivering line.*{tracked.id}"):
        sink.deliver(batch(_step(1, loss=1.0)))
    with pytest.raises(TargetGoneError, match="is deleted: restore it"):
        sink.open(run)


def test_the_users_own_mlflow_is_left_alone(store_uri: str, run: Run, batch: MakeBatch, tmp_path: Path) -> None:
    """Environment, tracking URI and active run of the process are the same before and after."""
    import mlflow

    environ = dict(os.environ)
    address, active = mlflow.get_tracking_uri(), mlflow.active_run()
    _deliver(store_uri, run, batch(_start(), _step(1, loss=1.0), _end("ok")))
    assert dict(os.environ) == environ
    assert (mlflow.get_tracking_uri(), mlflow.active_run()) == (address, active)
    assert address.endswith(f"{tmp_path}/mlflow.db")


def test_a_url_leads_to_the_runs_metrics(store_uri: str, run: Run) -> None:
    """For a local store it is where `mlflow ui` serves it by default."""
    tracked = _deliver(store_uri, run)
    assert tracked.url == f"http://127.0.0.1:5000/#/experiments/0/runs/{tracked.id}/model-metrics"


def test_a_missing_mlflow_is_named(store_uri: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the install line."""
    monkeypatch.delitem(sys.modules, "gradience_mlflow.session", raising=False)
    monkeypatch.delitem(sys.modules, "gradience_mlflow.locate", raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ExtraMissingError, match=r"pip install 'mlflow>=2\.22'"):
        MLflowSink(tracking_uri=store_uri).open(run)


@pytest.mark.slow
def test_the_sink_keeps_the_contract(store_uri: str, client: "MlflowClient") -> None:
    """The suite that every sink must pass, against a real store."""

    def held(tracked: Tracked) -> object:
        found = client.get_run(tracked.id)
        return _rows(store_uri), found.data.params, found.data.tags, dict(found.info)

    check_sink(lambda: MLflowSink(tracking_uri=store_uri), held)
