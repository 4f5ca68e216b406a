"""Reading a telemetry file back."""

import gzip
import io
import json
import math
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from gradience.errors import TelemetryError
from gradience.vnext import codec
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import SCHEMA


def line(event: str = "train_step", run_id: str = "r", step: Any = 1, **payload: Any) -> bytes:
    """One line of our own."""
    return codec.encode({"schema": SCHEMA, "ts": 1.0, "run_id": run_id, "event": event, "step": step, **payload})


def write(path: Path, *lines: bytes) -> Path:
    """A file of these lines."""
    path.write_bytes(b"".join(lines))
    return path


def steps(reader: TelemetryReader) -> list[tuple[str, int | None]]:
    """Event names and steps of what a reader gives."""
    return [(record.event.name, record.event.step) for record in reader]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """The example of the README, both halves."""
    with TelemetryWriter(tmp_path / "run.jsonl") as tw:
        tw.run_start({"model_name": "m", "optimizer": {"lr": "5e-5"}}, meta={"experiment": "demo"})
        tw.train_step(1, loss=2.3, lr=5e-5, tokens=7)
        tw.eval(100, split="test", metrics={"accuracy": 0.92, "n": 100, "f1": 0.5})
    reader = TelemetryReader(tmp_path / "run.jsonl", strict=True)
    signals = reader.summarize()
    test, config = reader.latest_eval("test"), reader.latest_config()
    assert test
    assert (test.accuracy, test.n, test.step, test.extras) == (0.92, 100, 100, {"f1": 0.5})
    assert config
    assert (config.model_name, config.optimizer.lr) == ("m", 5e-5)
    assert (signals.run_id, signals.status, signals.ended, signals.last_step) == (tw.run_id, "ok", True, 100)
    assert signals.counts == {"run_start": 1, "train_step": 1, "eval": 1, "run_end": 1}
    assert [record.extras for record in reader.iter_events("train_step")] == [{"tokens": 7}]
    assert reader.validate() == []


def test_a_run_without_an_end_is_seen(tmp_path: Path) -> None:
    """A crash leaves no run_end."""
    path = write(tmp_path / "r", line("run_start", config={}), line())
    signals = TelemetryReader(path).summarize()
    assert (signals.ended, signals.status) == (False, None)


def test_a_missing_file_is_an_error_at_once(tmp_path: Path) -> None:
    """Not an empty run."""
    with pytest.raises(TelemetryError, match="no such telemetry file"):
        TelemetryReader(tmp_path / "missing")


def test_a_file_without_any_telemetry_is_an_error(tmp_path: Path) -> None:
    """The first line says why; an empty file is a run that has not begun."""
    path = write(tmp_path / "r", b"loss,1\n")
    with pytest.raises(TelemetryError, match=r"holds no telemetry: line 1: not JSON"):
        TelemetryReader(path).summarize()
    assert TelemetryReader(write(tmp_path / "e")).summarize().run_id is None


def test_each_issue_is_told_once_with_its_line(tmp_path: Path) -> None:
    """However often one asks."""
    path = write(
        tmp_path / "r",
        line("run_start", config={}),
        b"garbage\n",
        b"\n",
        line(loss="1.5"),
        line("alert", severity="loud", code="c", message="m"),
        line("eval", split="test", metrics={"ppl": -1, "accuracy": 92, "loss": "3.0"}),
        line("run_end", status="whatever"),
        line(step=2),
        line(step=3),
        b'{"schema"',
    )
    reader = TelemetryReader(path)
    reader.summarize()
    reader.runs()
    assert [str(issue).partition(" is ")[0] for issue in reader.validate()] == [
        "line 2: not JSON: 'garbage'",
        "line 4: loss",
        "line 5: severity",
        "line 6: metrics.loss",
        "line 6: metrics.ppl",
        "line 6: metrics.accuracy",
        "line 7: status",
        "line 8: train_step after run_end, without a new run_start",
        "line 10: 9 bytes without a newline: still being written, or torn by a crash",
    ]
    assert reader.issue_count == 9
    test = reader.latest_eval("test")
    assert test
    assert (test.loss, test.ppl) == (3.0, -1)


def test_the_list_of_issues_is_bounded_and_their_count_is_not(tmp_path: Path) -> None:
    """A file of garbage does not fill the memory."""
    reader = TelemetryReader(write(tmp_path / "r", line(), b"x\n" * 3000))
    assert (len(reader.issues), reader.issue_count) == (1000, 3000)


def test_strict_raises_at_the_first_issue(tmp_path: Path) -> None:
    """What stands before it is given; the message names file and line."""
    path = write(tmp_path / "r", line(step=1), line(step="2"), line(step=3))
    with pytest.raises(TelemetryError, match=r"r, line 2: step is '2'"):
        TelemetryReader(path, strict=True).validate()
    reader = iter(TelemetryReader(path, strict=True))
    assert next(reader).line == 1
    with pytest.raises(TelemetryError, match="line 2"):
        next(reader)
    assert len(list(TelemetryReader(path))) == 3


def test_runs_are_kept_apart(tmp_path: Path) -> None:
    """The one that started last is the default, even if another one gets a line later; signals never mix."""
    path = write(
        tmp_path / "r",
        line("run_start", "a", None, config={}),
        line("eval", "a", 1, split="train", metrics={"ppl": 2.0}),
        line("run_start", "b", None, config={}),
        line("eval", "b", 1, split="test", metrics={"ppl": 9.0}),
        line("metrics", "a", 1, kind="lora_audit", metrics={"r": 8}),
        line("run_end", "b", None, status="ok"),
    )
    reader = TelemetryReader(path)
    assert [(run.run_id, run.line, run.events, run.status) for run in reader.runs()] == [
        ("a", 1, 3, None),
        ("b", 3, 3, "ok"),
    ]
    assert (reader.summarize().run_id, reader.summarize().gap) == ("b", None)
    assert [record.line for record in reader] == [3, 4, 6]
    other = TelemetryReader(path, run_id="a")
    assert [record.line for record in other] == [1, 2, 5]
    assert other.summarize().lora_audit == {"r": 8}


def test_a_run_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The message lists those that are."""
    reader = TelemetryReader(write(tmp_path / "r", line(run_id="a")), run_id="b")
    for ask in (reader.summarize, lambda: list(reader)):
        with pytest.raises(TelemetryError, match="holds no run 'b'; its runs: a"):
            ask()


def test_after_a_resume_the_last_attempt_counts(tmp_path: Path) -> None:
    """Steps that were told anew are left out, and so is what they said; an audit of a checkpoint stays."""
    start = line("run_start", step=None, config={})
    path = write(
        tmp_path / "r",
        start,
        line(step=1, loss=3.0),
        line("eval", step=1, split="test", metrics={"loss": 3.0}),
        line(step=2, loss=math.nan),
        line("eval", step=2, split="test", metrics={"loss": 9.0}),
        line("metrics", step=2, kind="lora_audit", metrics={"r": 8}),
        start,
        line(step=2, loss=2.0),
    )
    reader = TelemetryReader(path)
    signals = reader.summarize()
    assert steps(reader) == [
        ("run_start", None),
        ("train_step", 1),
        ("eval", 1),
        ("metrics", 2),
        ("run_start", None),
        ("train_step", 2),
    ]
    assert (signals.starts, signals.last_step, signals.train_loss, signals.test.loss) == (2, 2, 2.0, 3.0)
    assert signals.nonfinite == ()


def test_a_file_of_the_public_release_reads_without_loss(tmp_path: Path) -> None:
    """Bare NaN, the split `eval`, train steps with nothing but an epoch, metadata in alerts."""
    envelope = {"schema": SCHEMA, "ts": 1.0, "run_id": "r"}
    events: list[dict[str, Any]] = [
        {"event": "run_start", "step": None, "config": {"model_name": "m", "task_profile": "generation"}, "meta": {}},
        {"event": "train_step", "step": 10, "loss": 2.0, "lr": 5e-5, "grad_norm": math.nan, "epoch": 0.5},
        {"event": "train_step", "step": 10, "epoch": 0.5},
        {"event": "eval", "step": 10, "split": "eval", "metrics": {"loss": 2.5, "runtime": math.inf}},
        {"event": "alert", "step": None, "severity": "warning", "code": "GUARD", "message": "m", "metadata": {"n": 1}},
        {"event": "run_end", "step": None, "status": "ok"},
    ]
    path = write(tmp_path / "r", *(json.dumps(envelope | event).encode() + b"\n" for event in events))
    reader = TelemetryReader(path)
    signals = reader.summarize()
    assert reader.validate() == []
    assert (signals.test_split, signals.test.loss, signals.gap_source) == ("eval", 2.5, "train_loss")
    assert signals.gap == pytest.approx(math.exp(0.5))
    assert [(seen.name, seen.value, seen.step, seen.line) for seen in signals.nonfinite] == [
        ("train_step/grad_norm", "NaN", 10, 2),
        ("eval/eval/runtime", "Infinity", 10, 4),
    ]
    assert [(alert.code, alert.context) for alert in signals.alerts] == [("GUARD", {"n": 1})]
    payloads = [record.payload for record in reader]
    keys = [{key for key in event if key not in ("event", "step")} for event in events]
    assert [set(payload) for payload in payloads] == keys


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: b"\xef\xbb\xbf" + data])
def test_stdin_gzip_and_bom_read_like_a_plain_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Any) -> None:
    """As often as one likes, also from stdin."""
    data = pack(line("run_start", config={}) + line(step=5))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    for reader in (TelemetryReader(write(tmp_path / "r", data)), TelemetryReader("-")):
        assert steps(reader) == steps(reader) == [("run_start", 1), ("train_step", 5)]
        assert reader.summarize().last_step == 5
        assert reader.issues == []


def test_bad_bytes_cost_one_line(tmp_path: Path) -> None:
    """Not the file."""
    reader = TelemetryReader(write(tmp_path / "r", line(step=1), b"\xff\xfe\n", b"[" * 100_000 + b"\n", line(step=2)))
    assert steps(reader) == [("train_step", 1), ("train_step", 2)]
    assert [issue.line for issue in reader.issues] == [2, 2, 3]


def test_unknown_events_are_given_and_counted(tmp_path: Path) -> None:
    """A later version may say more."""
    reader = TelemetryReader(write(tmp_path / "r", line("shiny", new=[1])))
    assert [record.payload for record in reader] == [{"new": [1]}]
    assert reader.summarize().counts == {"shiny": 1}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Ten times the lines take the same memory."""
    peaks = []
    for count in (20_000, 200_000):
        path = write(tmp_path / "r", line("run_start", config={}), line(loss=1.0) * count)
        tracemalloc.start()
        TelemetryReader(path).validate()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 5_000_000
