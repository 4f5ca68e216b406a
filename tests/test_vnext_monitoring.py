"""A recorder that watches its own run: alerts stand right after what fired them, and a replay gives the same."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradience.errors import InputError
from gradience.policy.detectors import Monitors
from gradience.policy.replay import Replay
from gradience.vnext import monitoring
from gradience.vnext.signals import SealSeen
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Alert


def record(path: Path, losses: Iterable[Any], first: int = 1, **options: Any) -> None:
    """Steps of a run that is not ended."""
    writer = TelemetryWriter(path, monitors=True, **options)
    writer.run_start({"training": {"max_steps": 400}})
    for step, loss in enumerate(losses, start=first):
        writer.train_step(step, loss=loss, lr=1e-4, grad_norm=1.0)
    writer.replaced()


def events(path: Path) -> list[tuple[str, int | None]]:
    """Names and steps in the order of the file."""
    return [(one.event.name, one.event.step) for one in TelemetryReader(path).iter_events()]


def test_an_alert_stands_right_after_what_fired_it(tmp_path: Path) -> None:
    """With its code, so that sinks raise it while the run is alive."""
    path = tmp_path / "run.jsonl"
    record(path, [1.0] * 30 + [math.nan] + [1.0] * 5)
    assert events(path)[31:33] == [("train_step", 31), ("alert", 31)]
    (alert,) = TelemetryReader(path).summarize().alerts
    assert (alert.code, alert.severity.value) == ("loss_nonfinite", "error")


def test_a_replay_gives_the_very_alerts(tmp_path: Path) -> None:
    """Payload for payload, from the file alone."""
    path = tmp_path / "run.jsonl"
    record(path, [1.0 + 0.01 * (step % 7) for step in range(60)] + [5.0, math.inf] + [2.0] * 40)
    recorded = [one.payload for one in TelemetryReader(path) if isinstance(one.event, Alert)]
    monitors = Monitors()
    replayed = [alert for one in TelemetryReader(path) for alert in monitoring.watch(monitors, one)]
    assert {"loss_spike", "loss_nonfinite", "loss_diverged"} <= {alert["code"] for alert in replayed}
    assert recorded == replayed


def test_what_only_the_end_tells_stands_before_it(tmp_path: Path) -> None:
    """The end seals every line, and closes the tracked run; a replay finds the same."""
    path = tmp_path / "run.jsonl"
    with TelemetryWriter(path, monitors=True) as writer:
        for step, accuracy in enumerate((0.9, 0.5), start=1):
            writer.eval(step, split="test", metrics={"accuracy": accuracy})
    assert [name for name, _ in events(path)] == ["eval", "eval", "alert", "run_end"]
    reader, replay = TelemetryReader(path), Replay(detectors=Monitors)
    (alert,) = reader.watched(replay.take).alerts
    assert alert.code == "eval_regression"
    assert [(one.code, one.count, one.message) for one in replay.fired] == [(alert.code, 1, alert.message)]
    assert [mark.is_recorded for mark in replay.marks] == [True]
    assert reader.seal() == SealSeen(line=4, lines=3, is_intact=True)


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, torch.tensor, str], ids=lambda kind: kind.__name__)
def test_a_replay_gives_the_same_whatever_was_logged(tmp_path: Path, kind: Callable[[float], Any]) -> None:
    """Numbers of other libraries are watched as they read back from their line."""
    path = tmp_path / "run.jsonl"
    record(path, [kind(1.0 + 0.01 * (step % 7)) for step in range(60)] + [kind(5.0), kind(math.nan)])
    recorded = [one.payload for one in TelemetryReader(path) if isinstance(one.event, Alert)]
    monitors = Monitors()
    assert recorded == [alert for one in TelemetryReader(path) for alert in monitoring.watch(monitors, one)]
    assert {"loss_spike", "loss_nonfinite"} <= {alert["code"] for alert in recorded}


def test_a_resumed_run_is_watched_on(tmp_path: Path) -> None:
    """What it told before the interruption is known: the level that a spike is measured by."""
    path = tmp_path / "run.jsonl"
    record(path, [1.0 + 0.01 * (step % 7) for step in range(60)])
    record(path, [1.0, 1.0, 5.0], first=61)
    assert [alert.code for alert in TelemetryReader(path).summarize().alerts] == ["loss_spike"]


def test_a_run_that_is_named_is_watched_on_too(tmp_path: Path) -> None:
    """Whoever gives the run_id goes on with that run as well."""
    path = tmp_path / "run.jsonl"
    record(path, [1.0 + 0.01 * (step % 7) for step in range(60)], run_id="a")
    record(path, [1.0, 1.0, 5.0], first=61, run_id="a")
    assert [alert.code for alert in TelemetryReader(path).summarize().alerts] == ["loss_spike"]


def test_nothing_is_watched_unless_it_is_asked_for(tmp_path: Path) -> None:
    """A file holds what its writer was given."""
    with TelemetryWriter(tmp_path / "run.jsonl") as writer:
        writer.train_step(1, loss=math.nan)
    assert [name for name, _ in events(tmp_path / "run.jsonl")] == ["train_step", "run_end"]


def test_a_monitor_that_fails_is_switched_off_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Training goes on, and so does the recording."""

    class Broken:
        def observe(self, _name: str, _step: int | None, _payload: Mapping[str, Any], /) -> list[dict[str, Any]]:
            raise ZeroDivisionError

    with caplog.at_level(logging.WARNING), TelemetryWriter(tmp_path / "run.jsonl", monitors=Broken()) as writer:
        for step in range(3):
            writer.train_step(step, loss=1.0)
        assert writer.lost == 0
    assert [one.message for one in caplog.records] == ["the run is no longer watched: ZeroDivisionError: "]
    assert len(events(tmp_path / "run.jsonl")) == 4


def test_what_is_no_monitor_is_refused(tmp_path: Path) -> None:
    """When the writer is made, not when the first step comes."""
    with pytest.raises(TypeError, match="monitors is a int"):
        TelemetryWriter(tmp_path / "run.jsonl", monitors=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot read the policy all: No such file"):
        TelemetryWriter(tmp_path / "run.jsonl", monitors="all")


def test_a_policy_file_sets_the_thresholds(tmp_path: Path) -> None:
    """The alert says so, as a finding does."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("loss_nonfinite: {severity: warning}\nloss_spike: {enabled: false}\n", encoding="utf-8")
    with TelemetryWriter(tmp_path / "run.jsonl", monitors=policy) as writer:
        writer.run_start({"training": {"max_steps": 400}})
        for step in range(1, 60):
            writer.train_step(step, loss=math.nan if step == 50 else 9.0 if step == 40 else 1.0)
    (alert,) = TelemetryReader(tmp_path / "run.jsonl").summarize().alerts
    assert (alert.code, alert.severity.value) == ("loss_nonfinite", "warning")
    assert alert.context["policy_changed"] == ["severity"]
