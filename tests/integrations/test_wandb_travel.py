"""The journal on its W&B run, offline: in the artifact that `wandb sync` uploads."""

import gzip
from pathlib import Path

import pytest
from gradience_wandb import WandbSink

from gradience.mirror.artifacts import Kind
from gradience.mirror.cursor import Delivery
from gradience.mirror.sync import sync
from gradience.vnext.appender import append_events
from gradience.vnext.telemetry import TelemetryWriter
from tests.integrations import wandb_files

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

AUDIT = {"event": "metrics", "step": 1, "kind": "lora_audit", "metrics": {"utilization_mean": 0.5}}


def _deliver(path: Path, *artifacts: Kind) -> None:
    assert sync(path, WandbSink(artifacts=artifacts), patience_s=20.0).state is Delivery.UP_TO_DATE


def _staged(home: Path) -> list[bytes]:
    """The copies of the journal that wait for their upload, unpacked, the shortest first."""
    staged = [path for path in home.rglob("*") if path.is_file() and path.read_bytes()[:2] == b"\x1f\x8b"]
    return sorted((gzip.decompress(path.read_bytes()) for path in staged), key=len)


def test_the_journal_is_an_artifact_of_its_run_once_that_is_over(wandb_home: Path, tmp_path: Path) -> None:
    """Only where it is asked for; a later audit brings a longer version, and to deliver it all again none."""
    path = tmp_path / "demo" / "run.jsonl"
    with TelemetryWriter(path, run_id="r") as writer:
        writer.run_start({})
        writer.train_step(1, loss=1.0)
        _deliver(path, "telemetry")
        assert wandb_files.read(wandb_home).artifacts == []
    ended = path.read_bytes()
    _deliver(path, "telemetry")
    assert (wandb_files.read(wandb_home).artifacts, _staged(wandb_home)) == (["gradience-telemetry-r"], [ended])
    append_events(path, "r", [AUDIT])
    for _ in range(2):
        _deliver(path, "audit", "telemetry")
    found = wandb_files.read(wandb_home)
    assert found.artifacts == ["gradience-telemetry-r", "gradience-audit-r", "gradience-telemetry-r"]
    assert _staged(wandb_home) == [ended, path.read_bytes()]
    assert [key for key in found.summary["gradience"] if key not in ("run_id", "status", "cursor", "note")] == []


def test_a_journal_that_cannot_travel_costs_no_numbers(
    wandb_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary says why it is missing."""
    monkeypatch.setattr("gradience.mirror.travel.LARGEST", 10)
    path = tmp_path / "demo" / "run.jsonl"
    with TelemetryWriter(path, run_id="r") as writer:
        writer.run_start({})
        writer.train_step(1, loss=1.0)
    _deliver(path, "telemetry")
    found = wandb_files.read(wandb_home)
    assert (found.values("train/loss"), found.artifacts, found.exits) == ({2: 1.0}, [], [0])
    assert "over the limit of 10" in found.summary["gradience"]["artifacts_missing"]
