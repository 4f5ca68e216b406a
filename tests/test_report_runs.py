import math
from pathlib import Path
from typing import Any

import click
import pytest

from gradience.policy import monitor
from gradience.policy.replay import Replay
from gradience.report import runs, runs_text
from gradience.report.runs import Run
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import ConfigSnapshot, OptimizerConfigSnapshot, Severity


def _run(path: Path, *, lr: float, losses: list[float], **evals: dict[str, float]) -> Run:
    config = ConfigSnapshot(model_name="org/tiny", optimizer=OptimizerConfigSnapshot(lr=lr), extras={"tags": ["x"]})
    with TelemetryWriter(path) as writer:
        writer.run_start(config)
        for step, loss in enumerate(losses, 1):
            writer.train_step(step, loss=loss)
            for split, metrics in evals.items():
                writer.eval(step, split=split, metrics={key: value / step for key, value in metrics.items()})
        writer.alert(severity=Severity.WARNING, code="HOT", message="too hot", step=1)
    replay = Replay()
    seen = TelemetryReader(path).watched(replay.take)
    return runs.run(str(path), seen, replay.course.curves(), monitor.monitor(seen))


def test_a_row_tells_the_last_and_the_best(tmp_path: Path) -> None:
    """The best evaluation of a split goes by loss where there is one; accuracy is best at its highest."""
    one = _run(tmp_path / "a.jsonl", lr=0.1, losses=[3.0, 1.0, 2.0], test={"loss": 6.0}, val={"f1": 1.0, "accuracy": 1})
    assert (one.train_loss, one.best_train_loss, one.best_train_loss_step, one.step) == (2.0, 1.0, 2, 3)
    best = {split: (found.metric, found.value, found.step) for split, found in one.evals.items()}
    assert best == {"test": ("loss", 2.0, 3), "val": ("accuracy", 1.0, 1)}
    assert one.alerts == {"warning": 1}


def test_the_worst_finding_names_the_run(tmp_path: Path) -> None:
    """With its severity; all codes are in the document."""
    one = _run(tmp_path / "a.jsonl", lr=0.1, losses=[1.0, math.nan])
    assert (one.worst, one.worst_severity) == ("loss_nonfinite", Severity.ERROR)
    document = runs.document([one])
    assert "loss_nonfinite" in document["runs"][0]["codes"]
    assert "config" not in document["runs"][0]


def test_only_settings_that_differ_are_listed(tmp_path: Path) -> None:
    """By their dotted names, one value for each run; a run that cannot be read has none."""
    found = [_run(tmp_path / f"{lr}.jsonl", lr=lr, losses=[1.0]) for lr in (0.1, 0.2)]
    broken = Run(file="gone.jsonl", error="no such telemetry file: gone.jsonl; check the path")
    assert runs.document([*found, broken])["differing_settings"] == {"optimizer.lr": [0.1, 0.2]}
    text = click.unstyle(runs_text.render([*found, broken]))
    assert ["optimizer.lr", "0.1", "0.2"] in [line.split() for line in text.splitlines()]
    assert "model_name" not in text
    assert "Could not be read\n  - no such telemetry file: gone.jsonl; check the path" in text


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["/x/a/run.jsonl", "/x/b/run.jsonl"], ["a", "b"]),
        (["/x/a/run.jsonl", "/x/b/other.jsonl"], ["a/run.jsonl", "b/other.jsonl"]),
        (["/x/a.jsonl", "/x/b/a.jsonl"], ["a.jsonl", "b/a.jsonl"]),
        (["run.jsonl"], ["run.jsonl"]),
    ],
)
def test_runs_are_named_by_what_tells_them_apart(files: list[str], names: list[str]) -> None:
    """Without the folders that all share, and without a file's name that is the same in all."""
    assert runs_text.short(files) == names


def test_many_runs_without_evaluations_are_a_table(tmp_path: Path) -> None:
    """Nothing is missing but what was not recorded."""
    found: list[Any] = [_run(tmp_path / f"{k}.jsonl", lr=0.1, losses=[1.0 / (k + 1)]) for k in range(12)]
    lines = click.unstyle(runs_text.render(found)).splitlines()
    assert lines[0] == "12 runs"
    assert lines[-2:] == ["Settings", "  the same in all"]
