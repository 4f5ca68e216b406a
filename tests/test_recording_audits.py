"""Audits beside a training: in order, each once, and a failure costs nothing but itself."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from gradience.recording.audits import Audits
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Metrics


@pytest.mark.slow
def test_a_checkpoint_that_is_gone_costs_only_its_own_audit(
    tmp_path: Path, save_adapter: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """A Trainer may delete a checkpoint before its turn comes: that is said, and the next is audited."""
    caplog.set_level(logging.WARNING)
    audits = Audits(tmp_path / "run.jsonl")
    with TelemetryWriter(tmp_path / "run.jsonl") as writer:
        writer.run_start()
        audits.ask(tmp_path / "checkpoint-1")
        audits.ask(save_adapter(tmp_path / "checkpoint-2"), copy=tmp_path / "checkpoint-2")
        assert audits.wait(60)
    (said,) = caplog.messages
    assert "checkpoint-1 was not audited" in said
    found = [one.event for one in TelemetryReader(tmp_path / "run.jsonl") if isinstance(one.event, Metrics)]
    assert [(one.kind, one.step) for one in found] == [("lora_audit", 2)]
    assert not (tmp_path / "checkpoint-2").exists()
