"""Tests of `gradience_mlflow.artifacts`: an audit on its tracked run, as files and as a note."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gradience_mlflow import MLflowSink

from gradience.audit.record import AuditRecord
from gradience.mirror.sink import Batch, Run, Tracked
from gradience.policy import audit_event
from gradience.policy.advice import advise

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytest.importorskip("mlflow")

MakeBatch = Callable[..., Batch]
MakeRecord = Callable[..., AuditRecord]


@pytest.fixture
def audited(make_record: MakeRecord) -> Callable[..., list[dict[str, Any]]]:
    """Make the two events of an audit: `audited(step, fingerprint)`."""

    def events(step: int | None = 500, fingerprint: str = "sha256:1") -> list[dict[str, Any]]:
        spectra = {f"{layer}.q_proj": [3.0, 1.0, *[0.01] * 14] for layer in range(4)}
        record = make_record(spectra, fingerprint=fingerprint)
        advice = advise(record)
        return [
            {"event": "metrics", "step": step, "kind": "lora_audit", "metrics": audit_event.metrics(record, advice)},
            {"event": "recommendation", "step": step, **audit_event.recommendation(record, advice)},
        ]

    return events


def _deliver(uri: str, run: Run, *batches: Batch, into: str | None = None) -> Tracked:
    sink = MLflowSink(tracking_uri=uri, run=into)
    tracked = sink.open(run)
    for batch in batches:
        sink.deliver(batch)
    sink.close(None, 5)
    return tracked


def _document(client: "MlflowClient", tracked: Tracked) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(client.download_artifacts(tracked.id, "audit.json")).read_text())
    return found


def _note(client: "MlflowClient", tracked: Tracked) -> str:
    return str(client.get_run(tracked.id).data.tags.get("mlflow.note.content", ""))


def test_an_audit_lands_as_numbers_tags_note_and_files(
    store_uri: str,
    client: "MlflowClient",
    run: Run,
    batch: MakeBatch,
    audited: Callable[..., list[dict[str, Any]]],
) -> None:
    """The summary as metrics, the advice as flat tags, the verdict first in the note, the whole audit as JSON."""
    tracked = _deliver(store_uri, run, batch(*audited()))
    found = client.get_run(tracked.id)
    assert found.data.metrics["lora_audit/utilization_mean"] > 0
    assert found.data.metrics["lora_audit/attn/utilization_mean"] > 0
    assert found.data.tags["gradience.verdict"] in ("ok", "review")
    assert found.data.tags["gradience.advice_step"] == "500"
    assert _note(client, tracked).startswith("**Verdict: ")
    assert {file.path for file in client.list_artifacts(tracked.id)} == {"audit.json", "report.html", "report.md"}
    report = Path(client.download_artifacts(tracked.id, "report.md")).read_text()
    assert report == _note(client, tracked)
    page = Path(client.download_artifacts(tracked.id, "report.html")).read_text()
    assert "Rank used, k@95 / r" in page


def test_the_document_holds_the_whole_audit(
    store_uri: str,
    client: "MlflowClient",
    run: Run,
    batch: MakeBatch,
    audited: Callable[..., list[dict[str, Any]]],
) -> None:
    """Every field of the two events, with the run and the step that they are about."""
    metrics, advice = audited()
    document = _document(client, _deliver(store_uri, run, batch(metrics, advice)))
    assert {key: document[key] for key in metrics["metrics"]} == json.loads(json.dumps(metrics["metrics"]))
    assert {key: advice[key] for key in document["advice"]} == document["advice"]
    assert (document["schema"], document["run_id"], document["step"]) == ("gradience.audit/v1", "run-1", 500)


def test_advice_that_comes_in_a_later_process_finds_its_audit(
    store_uri: str,
    client: "MlflowClient",
    run: Run,
    batch: MakeBatch,
    audited: Callable[..., list[dict[str, Any]]],
) -> None:
    """A batch may end between the two events: the note is the same in the end."""
    metrics, advice = audited()
    apart = _deliver(store_uri, run, batch(metrics))
    assert "Verdict" not in _note(client, apart)
    _deliver(store_uri, run, batch(advice, first=2))
    whole = _note(client, apart)
    _deliver(store_uri, run, batch(metrics, advice))
    assert whole == _note(client, apart)
    assert whole.startswith("**Verdict: ")
    assert _document(client, apart)["advice"]["verdict"]


def test_an_older_checkpoint_replaces_nothing(
    store_uri: str,
    client: "MlflowClient",
    run: Run,
    batch: MakeBatch,
    audited: Callable[..., list[dict[str, Any]]],
) -> None:
    """Files and note are of the newest step that was audited; the older numbers become points all the same."""
    tracked = _deliver(store_uri, run, batch(*audited(500)))
    _deliver(store_uri, run, batch(*audited(100, "sha256:2"), first=3, advised=500))
    assert _document(client, tracked)["step"] == 500
    history = client.get_metric_history(tracked.id, "lora_audit/utilization_mean")
    assert sorted(point.step for point in history) == [100, 500]


def test_a_persons_note_stays(
    store_uri: str,
    client: "MlflowClient",
    run: Run,
    batch: MakeBatch,
    audited: Callable[..., list[dict[str, Any]]],
) -> None:
    """On a run of theirs, and where they changed ours; our own is brought up to date."""
    theirs = client.create_run("0", tags={"mlflow.note.content": "my note"})
    tracked = _deliver(store_uri, run, batch(*audited()), into=theirs.info.run_id)
    assert _note(client, tracked) == "my note"
    client.delete_tag(tracked.id, "mlflow.note.content")
    _deliver(store_uri, run, batch(*audited(600), first=3))
    ours = _note(client, tracked)
    assert ours.startswith("**Verdict: ")
    client.set_tag(tracked.id, "mlflow.note.content", ours + "\n\nand my words")
    _deliver(store_uri, run, batch(*audited(700), first=5))
    assert _note(client, tracked).endswith("and my words")


def test_a_store_without_room_for_files_still_takes_the_numbers(
    store_uri: str,
    client: "MlflowClient",
    run: Run,
    batch: MakeBatch,
    audited: Callable[..., list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    """The reason becomes a tag, and goes when the files come."""
    (tmp_path / "mlruns").write_text("a file where MLflow wants a folder")
    tracked = _deliver(store_uri, run, batch(*audited()))
    found = client.get_run(tracked.id)
    assert found.data.metrics["lora_audit/utilization_mean"] > 0
    assert "mlruns" in found.data.tags["gradience.artifacts_missing"]
    (tmp_path / "mlruns").unlink()
    _deliver(store_uri, run, batch(*audited()))
    assert client.get_run(tracked.id).data.tags["gradience.artifacts_missing"] == "none"


def test_another_producers_audit_does_no_harm(
    store_uri: str, client: "MlflowClient", run: Run, batch: MakeBatch
) -> None:
    """A `lora_audit` that we did not write still has numbers."""
    foreign = {"event": "metrics", "step": 3, "kind": "lora_audit", "metrics": {"utilization_mean": 0.5, "x": [1]}}
    tracked = _deliver(store_uri, run, batch(foreign))
    assert client.get_run(tracked.id).data.metrics == {"lora_audit/utilization_mean": 0.5}
    assert _document(client, tracked)["utilization_mean"] == 0.5
