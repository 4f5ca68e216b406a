"""The journal on its MLflow run, and back."""

import gzip
import logging
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gradience_mlflow import MLflowSink

from gradience.errors import InputError
from gradience.mirror.artifacts import KINDS, Kind
from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.mirror.sync import sync
from gradience.testing import check_sink
from gradience.vnext.appender import append_events
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytest.importorskip("mlflow")

AUDIT = {"event": "metrics", "step": 3, "kind": "lora_audit", "metrics": {"utilization_mean": 0.5}}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A run that went well."""
    path = tmp_path / "out" / "run.jsonl"
    with TelemetryWriter(path, run_id="a") as writer:
        writer.run_start({"lora": {"r": 8}})
        for step in range(1, 4):
            writer.train_step(step, loss=1 / step, lr=[1e-4, 2e-4])
        writer.eval(3, split="test", metrics={"loss": float("nan"), "accuracy": 0.5})
    return path


def _deliver(path: Path, uri: str, artifacts: Sequence[Kind] = KINDS) -> Outcome:
    outcome = sync(path, MLflowSink(tracking_uri=uri, artifacts=artifacts), patience_s=20.0)
    assert (outcome.state, outcome.rejected) == (Delivery.UP_TO_DATE, 0)
    return outcome


def _artifact(client: "MlflowClient", tracked: str, folder: Path) -> Path:
    return Path(client.download_artifacts(tracked, "telemetry/run.jsonl.gz", str(folder)))


def _told(client: "MlflowClient", tracked: str) -> dict[str, Any]:
    """What a run says, but for who keeps it where."""
    data = client.get_run(tracked).data
    points = {
        key: sorted((point.step, point.timestamp, point.value) for point in client.get_metric_history(tracked, key))
        for key in data.metrics
    }
    tags = {key: value for key, value in data.tags.items() if key.startswith("gradience.")}
    return {"points": points, "params": data.params, "tags": tags}


def test_a_journal_comes_back_whole(store_uri: str, client: "MlflowClient", journal: Path, tmp_path: Path) -> None:
    """Taken from the tracker and unpacked it is the same, its seal intact; a fresh store says the same of it."""
    fresh = tmp_path / "fresh.db"
    shutil.copy(store_uri.removeprefix("sqlite:///"), fresh)
    append_events(journal, None, [AUDIT])
    first = _deliver(journal, store_uri).runs["a"].id
    packed = _artifact(client, first, tmp_path)
    files = {file.path for file in client.list_artifacts(first)}
    assert files == {"audit.json", "report.html", "report.md", "telemetry"}
    assert "gradience.artifacts_missing" not in client.get_run(first).data.tags
    subprocess.run(["gunzip", "--keep", str(packed)], check=True)
    copy = packed.with_suffix("")
    assert copy.read_bytes() == journal.read_bytes()
    seen = TelemetryReader(packed).seal()
    assert seen is not None
    assert seen.is_intact
    from mlflow import MlflowClient

    for path in (copy, packed):
        uri = f"sqlite:///{fresh}"
        second = _deliver(path, uri, artifacts=["audit", "report"]).runs["a"].id
        assert _told(MlflowClient(uri), second) == _told(client, first)


def test_a_later_audit_is_in_the_copy_too(
    store_uri: str, client: "MlflowClient", journal: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The copy is made again, its size is told, and delivering everything once more leaves the same bytes."""
    caplog.set_level(logging.INFO, "gradience.mlflow")
    tracked = _deliver(journal, store_uri).runs["a"].id
    before = _artifact(client, tracked, tmp_path).read_bytes()
    append_events(journal, None, [AUDIT])
    _deliver(journal, store_uri)
    after = _artifact(client, tracked, tmp_path).read_bytes()
    assert (gzip.decompress(after), after == before) == (journal.read_bytes(), False)
    shutil.rmtree(f"{journal}.gradience")
    _deliver(journal, store_uri)
    assert _artifact(client, tracked, tmp_path).read_bytes() == after
    sync(journal, MLflowSink(tracking_uri=store_uri, artifacts=KINDS), from_start=True)
    assert _artifact(client, tracked, tmp_path).read_bytes() == after
    told = [re.sub(r"\d+\.\d kB", "N kB", message) for message in caplog.messages]
    assert told == [f"telemetry/run.jsonl.gz, N kB: lines 1 to {lines} of {journal}" for lines in (6, 7, 7)]


def test_nothing_travels_unasked_or_before_the_end(store_uri: str, client: "MlflowClient", journal: Path) -> None:
    """The default uploads no telemetry; nor does a run that is going on."""
    tracked = _deliver(journal, store_uri, artifacts=["audit", "report"]).runs["a"].id
    with TelemetryWriter(journal, run_id="b") as writer:
        writer.run_start({})
        writer.train_step(1, loss=1.0)
        other = _deliver(journal, store_uri).runs["b"].id
        assert [client.list_artifacts(run) for run in (tracked, other)] == [[], []]
    _deliver(journal, store_uri)
    assert [file.path for file in client.list_artifacts(other)] == ["telemetry"]


def test_a_store_that_takes_no_files_still_takes_the_numbers(
    store_uri: str, client: "MlflowClient", journal: Path, tmp_path: Path
) -> None:
    """The reason is a tag, which goes when the journal has come."""
    (tmp_path / "mlruns").write_text("a file where MLflow wants a folder")
    tracked = _deliver(journal, store_uri).runs["a"].id
    found = client.get_run(tracked)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["train/loss"] == pytest.approx(1 / 3)
    assert "mlruns" in found.data.tags["gradience.artifacts_missing"]
    (tmp_path / "mlruns").unlink()
    append_events(journal, None, [AUDIT])
    _deliver(journal, store_uri)
    assert client.get_run(tracked).data.tags["gradience.artifacts_missing"] == "none"


def test_a_store_of_files_that_never_answers_holds_up_no_numbers(
    store_uri: str, client: "MlflowClient", journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few attempts, while the tracker itself answers; then the lines are delivered, and the reason is a tag."""
    monkeypatch.setattr("gradience_mlflow.artifacts.UPLOADS", 2)

    def refuse(*_: Any) -> None:
        raise ConnectionError("Connection refused")

    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", refuse)
    tracked = _deliver(journal, store_uri).runs["a"].id
    assert "Connection refused" in client.get_run(tracked).data.tags["gradience.artifacts_missing"]


def test_only_the_chosen_files_are_uploaded(store_uri: str, client: "MlflowClient", journal: Path) -> None:
    """The note and the numbers come in any case."""
    append_events(journal, None, [AUDIT])
    tracked = _deliver(journal, store_uri, artifacts=["report"]).runs["a"].id
    assert [file.path for file in client.list_artifacts(tracked)] == ["report.html", "report.md"]
    assert "mlflow.note.content" in client.get_run(tracked).data.tags


def test_another_kind_of_file_is_refused_when_the_sink_is_made() -> None:
    """As every mistake in options is."""
    with pytest.raises(InputError, match="it takes a list of audit, report, telemetry"):
        MLflowSink(artifacts=["everything"])  # type: ignore[list-item]


@pytest.mark.slow
def test_the_sink_with_files_keeps_the_contract(store_uri: str, client: "MlflowClient") -> None:
    """Uploads are repeatable like everything else; a journal that is not there costs the file alone."""

    def factory() -> MLflowSink:
        return MLflowSink(tracking_uri=store_uri, artifacts=KINDS)

    check_sink(factory, lambda tracked: _told(client, tracked.id))


@pytest.mark.slow
def test_a_side_car_sends_the_journal_when_training_ends(
    store_uri: str, client: "MlflowClient", tmp_path: Path
) -> None:
    """Live, as `sinks` ask for it, and the recorder waits for it."""
    path = tmp_path / "live" / "run.jsonl"
    sink = {"type": "mlflow", "tracking_uri": store_uri, "artifacts": ["telemetry"]}
    with TelemetryWriter(path, run_id="a", sinks=[sink], close_timeout_s=60.0) as writer:
        writer.run_start({})
        writer.train_step(1, loss=1.0)
    (tracked,) = client.search_runs(["0"])
    assert gzip.decompress(_artifact(client, tracked.info.run_id, tmp_path).read_bytes()) == path.read_bytes()
