from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gradience.policy.replay import Mark, Replay
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import ConfigSnapshot, Severity


class Above:
    """Fires at every loss above 2, with the loss of the step before as its state."""

    def __init__(self) -> None:
        self._before: float | None = None

    def observe(self, event_name: str, _step: int | None, payload: Mapping[str, Any], /) -> Iterable[Mapping[str, Any]]:
        """One alert, or none."""
        if event_name != "train_step":
            return []
        before, self._before = self._before, payload["loss"]
        message = f"{payload['loss']:g} after {before}"
        return [{"severity": "warning", "code": "above", "message": message}] if payload["loss"] > 2 else []


def _record(path: Path, losses: Iterable[float], first: int = 1) -> Path:
    with TelemetryWriter(path) as writer:
        writer.run_start(ConfigSnapshot())
        for step, loss in enumerate(losses, first):
            writer.train_step(step, loss=loss)
    return path


def _replay(path: Path, replay: Replay) -> Replay:
    TelemetryReader(path).watched(replay.take)
    return replay


def test_detectors_see_the_run_as_it_went_by(tmp_path: Path) -> None:
    """Each alert stands at its step; together they are told as alerts that were recorded are."""
    replay = _replay(_record(tmp_path / "a.jsonl", [1, 3, 1, 4]), Replay(detectors=Above))
    assert [(mark.step, mark.message, mark.is_recorded) for mark in replay.marks] == [
        (2, "3 after 1.0", False),
        (4, "4 after 1.0", False),
    ]
    assert [(one.code, one.count, one.first_step, one.step) for one in replay.fired] == [("above", 2, 2, 4)]


def test_an_alert_that_was_recorded_as_well_is_one(tmp_path: Path) -> None:
    """A recorder with the same detectors wrote it right after the event."""
    path = tmp_path / "a.jsonl"
    with TelemetryWriter(path) as writer:
        writer.train_step(1, loss=3.0)
        writer.alert(severity=Severity.WARNING, code="above", message="3 after None", step=1)
    expected = Mark(step=1, severity=Severity.WARNING, code="above", message="3 after None")
    assert _replay(path, Replay(detectors=Above)).marks == [expected]


def test_the_last_run_of_a_file_is_the_one(tmp_path: Path) -> None:
    """Or that which is named; each with detectors of its own."""
    path = _record(_record(tmp_path / "a.jsonl", [1, 3]), [4, 5, 1])
    first, last = (run.run_id for run in TelemetryReader(path).runs())
    assert [mark.message for mark in _replay(path, Replay(detectors=Above)).marks] == ["4 after None", "5 after 4.0"]
    named = _replay(path, Replay(first, detectors=Above))
    assert [mark.message for mark in named.marks] == ["3 after 1.0"]
    assert [one.end for one in named.course.curves()["loss"].buckets] == [1, 3]
    assert _replay(path, Replay()).run_id == last


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_blocks_do_not_matter(tmp_path: Path, size: int) -> None:
    """A live file comes in pieces."""
    records = list(TelemetryReader(_record(tmp_path / "a.jsonl", range(7))))
    replay = Replay(detectors=Above)
    for start in range(0, len(records), size):
        replay.take(records[start : start + size])
    assert [one.end for one in replay.course.curves()["loss"].buckets] == list(range(7))
    assert [mark.step for mark in replay.marks] == [4, 5, 6, 7]
