import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.audit import columns
from gradience.audit.record import AuditRecord
from gradience.policy import monitor
from gradience.policy.replay import Replay
from gradience.report.html import chart, run_report
from gradience.report.html.chart import Chart, Line
from gradience.report.html.scale import fitting
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import ConfigSnapshot, Severity
from tests.html_page import Shown

HOSTILE = "</td></script><script>alert(1)</script><img src=//evil.example/x onerror=alert(1)>\"'`\x1b]8;;\u202e"
Record = Callable[[TelemetryWriter], None]


def _report(path: Path, record: Record, config: ConfigSnapshot | None = None, **meta: Any) -> str:
    with TelemetryWriter(path, allow_text=True) as writer:
        writer.run_start(config or ConfigSnapshot(), meta=meta)
        record(writer)
    replay = Replay()
    seen = TelemetryReader(path).watched(replay.take)
    return run_report.render(str(path), seen, replay.course.curves(), replay.marks, monitor.monitor(seen))


Value = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(Value, max_size=50), st.booleans())
def test_whatever_the_numbers_everything_lies_on_the_paper(values: list[float], may_be_log: bool) -> None:
    """Places between the ends, in the order of the numbers, with some round numbers beside the axis."""
    scale = fitting(values, 190, 10, may_be_log=may_be_log)
    known = sorted(value for value in values if math.isfinite(value))
    assert (scale is None) == (not known)
    if scale is not None:
        places = [scale(value) for value in known]
        assert all(10 <= place <= 190 for place in places)
        assert places == sorted(places, reverse=True)
        ticks = scale.ticks(5)
        assert 1 <= len(ticks) <= 12
        assert all(10 <= tick.at <= 190 for tick in ticks)


def test_a_single_peak_does_not_press_a_curve_flat() -> None:
    """The axis leaves it out, and says so."""
    points = [(float(step), 1.0 + step % 2) for step in range(100)]
    points[50] = (50.0, 1e6)
    figure = chart.draw(Chart(title="t", lines=[Line(name="a", points=points)], steps=(0, 99)))
    assert figure is not None
    assert figure.note == "The axis leaves out what lies far from the rest, up to 1e+06."
    assert [tick.label for tick in figure.y_ticks] == ["1", "1.2", "1.4", "1.6", "1.8", "2"]


def test_what_spans_decades_is_drawn_on_decades() -> None:
    """Where that is asked for, and no number forbids it."""
    lines = [Line(name="a", points=[(float(step), 10.0 ** (step - 3)) for step in range(6)])]
    figure = chart.draw(Chart(title="t", lines=lines, steps=(0, 5), may_be_log=True))
    assert figure is not None
    assert [tick.label for tick in figure.y_ticks] == ["0.001", "0.01", "0.1", "1", "10", "100"]


def test_a_chart_without_points_is_none() -> None:
    """An empty frame would say that nothing happened."""
    assert chart.draw(Chart(title="t", lines=[Line(name="a", points=[])], steps=(0, 1))) is None


def test_nothing_from_a_file_becomes_markup(tmp_path: Path) -> None:
    """Names, settings, messages, splits and codes are text; there is no script, and nothing is fetched."""

    def record(writer: TelemetryWriter) -> None:
        for step in (1, 2):
            writer.train_step(step, loss=2.0 / step)
            writer.eval(step, split=HOSTILE, metrics={HOSTILE: 1.0 / step, "loss": 1.0})
        writer.alert(severity=Severity.ERROR, code=HOSTILE, message=HOSTILE, step=2)

    config = ConfigSnapshot(model_name=HOSTILE, dataset_name=HOSTILE, extras={HOSTILE: HOSTILE})
    text = _report(tmp_path / "run.jsonl", record, config, **{"<b>": HOSTILE})
    page = Shown(text)
    assert page.open == []
    assert not {"script", "img", "link", "iframe", "a"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert "alert(1)" in page.text
    assert not {"\x1b", "\u202e"} & set(text)
    assert "url(" not in text
    assert "@import" not in text


def test_a_report_tells_the_story(tmp_path: Path) -> None:
    """Charts in their order, alerts at their steps, findings with their tests, settings and events."""

    def record(writer: TelemetryWriter) -> None:
        for step in range(1, 41):
            loss = math.nan if step == 39 else 2.0 / step
            writer.train_step(step, loss=loss, lr=[1e-4, 1e-5], grad_norm=0.1 * step)
            if step % 10 == 0:
                writer.eval(step, split="test", metrics={"loss": 3.0 / step, "accuracy": 0.5, "n": 7})
        writer.alert(severity=Severity.WARNING, code="loss_spike", message="a spike", step=30)

    page = Shown(_report(tmp_path / "run.jsonl", record, git={"commit": "abc"}))
    titles = ["Loss", "Evaluation: accuracy", "Learning rate", "Gradient norm", "Alerts", "Environment", "Events"]
    places = [page.text.index(title) for title in titles]
    assert places == sorted(places)
    told = [
        "train_step/loss is NaN at step 39",
        "Load the last checkpoint before",
        "loss_spike",
        "group 1",
        "git.commit",
    ]
    assert [text for text in told if text not in page.text] == []
    assert page.tags.count("svg") == 4


def test_a_report_of_a_long_run_stays_small(tmp_path: Path) -> None:
    """However many steps: under 200 kB, with every curve full."""

    def record(writer: TelemetryWriter) -> None:
        for step in range(12_000):
            writer.train_step(step, loss=2 + math.sin(step), lr=1 / (step + 1), grad_norm=1 + math.cos(step))
            if step % 20 == 0:
                for split in ("train", "test"):
                    writer.eval(step, split=split, metrics={"loss": 1 / (step + 1), "ppl": step + 2, "accuracy": 0.5})

    assert len(_report(tmp_path / "run.jsonl", record)) < 200_000


def test_the_audit_of_a_run_has_its_section(tmp_path: Path, make_record: Callable[..., AuditRecord]) -> None:
    """What each rank would keep, the suggested one marked; another producer's audit is left out."""
    audit = columns.pack(make_record({"0.q_proj": [3, 1, 0.1, 0.01, 0, 0, 0, 0]}))

    def record(writer: TelemetryWriter, metrics: dict[str, Any]) -> None:
        writer.metrics(5, kind="lora_audit", metrics=metrics)
        writer.recommendation([], step=5, verdict="review", suggested_rank=2)

    page = Shown(_report(tmp_path / "a.jsonl", lambda writer: record(writer, audit)))
    assert "Audit of the adapter" in page.text
    assert "at step 5. Verdict: review." in page.text
    assert ("class", "chosen") in page.attributes
    assert "Energy kept by rank" in page.text
    other = Shown(_report(tmp_path / "b.jsonl", lambda writer: record(writer, {"energy_rank_90_p50": 1})))
    assert "Audit of the adapter" not in other.text


def test_a_verification_has_its_section(tmp_path: Path) -> None:
    """Both numbers and the verdict."""
    sides = {
        name: {"peft_dir": place, "r": r, "fingerprint": None, "step": None}
        for name, place, r in (("adapter", "a", 16), ("compressed_adapter", "b", 4))
    }
    told = {"verified": "pass", "metric": "accuracy", "higher_is_better": True, "original": 0.9, "compressed": 0.89}
    told |= {"delta": -0.01, "standard_error": None, "standard_error_from": "none", "tolerance": 0.02, "repeats": 1}
    told |= {"tolerance_stated": True, "n": None, "original_values": [0.9], "compressed_values": [0.89], "seeds": [0]}
    told |= {"original_seconds": 1.0, "compressed_seconds": 1.0, "command": "x", **sides}
    report = _report(tmp_path / "a.jsonl", lambda writer: writer.metrics(5, kind="verification", metrics=told))
    text = Shown(report).text
    assert "Verification of the compressed adapter" in text
    assert "0.89  r=4 b" in text


@pytest.mark.parametrize("status", ["ok", "error"])
def test_a_run_without_a_number_has_a_report(tmp_path: Path, status: str) -> None:
    """No chart, but what is known."""
    page = Shown(_report(tmp_path / "run.jsonl", lambda writer: writer.run_end(status)))
    assert status in page.text
    assert "svg" not in page.tags
