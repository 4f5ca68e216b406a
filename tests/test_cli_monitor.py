import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradience.cli.main import group
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import ConfigSnapshot, LoRAConfigSnapshot, Severity, TrainingConfigSnapshot

Recorded = Callable[[TelemetryWriter], None]

CONFIG = ConfigSnapshot(
    model_name="org/tiny", lora=LoRAConfigSnapshot(r=8, alpha=16), training=TrainingConfigSnapshot(max_steps=4)
)


def _monitor(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(group, ["monitor", *map(str, arguments)], input=stdin)


def _document(path: Path, *arguments: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(_monitor(path, "--json", *arguments).stdout, parse_constant=pytest.fail)
    return document


def _codes(path: Path) -> list[str]:
    return [one["action"] for one in _document(path)["recommendations"]]  # type: ignore[attr-defined]


def _without_seal(line: bytes) -> bytes:
    return json.dumps({key: value for key, value in json.loads(line).items() if key != "seal"}).encode() + b"\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of four steps that went well."""
    path = tmp_path / "run.jsonl"
    with TelemetryWriter(path) as writer:
        writer.run_start(CONFIG)
        for step in range(1, 5):
            writer.train_step(step, loss=2 / step, lr=1e-4, grad_norm=0.5)
        writer.eval(4, split="train", metrics={"loss": 0.5, "ppl": math.exp(0.5), "accuracy": 0.9})
        writer.eval(4, split="test", metrics={"loss": 0.6, "ppl": math.exp(0.6), "accuracy": 0.8, "n": 50, "f1": 0.7})
    return path


def _record(path: Path, recorded: Recorded) -> Path:
    with TelemetryWriter(path) as writer:
        writer.run_start(CONFIG)
        recorded(writer)
    return path


def test_a_run_that_was_killed_is_judged_by_its_last_evaluation(tmp_path: Path) -> None:
    """Nothing more comes of it; one that is still recorded may get better."""
    path = tmp_path / "run.jsonl"
    writer = TelemetryWriter(path)
    for step, accuracy in enumerate((0.9, 0.5), start=1):
        writer.eval(step, split="test", metrics={"accuracy": accuracy})
    live = CliRunner().invoke(group, ["monitor", str(path), "--fail-on", "eval_regression"])
    writer.replaced()
    killed = CliRunner().invoke(group, ["monitor", str(path), "--fail-on", "eval_regression"])
    assert (live.exit_code, killed.exit_code) == (0, 3), killed.output


def test_a_run_is_summed_up(run: Path) -> None:
    """How it ended, the latest of train and test, and the gap; nothing to find in a run that went well."""
    text = _monitor(run).stdout
    assert "status      ok, step 4 of 4" in text
    assert "gap         1.11x (test perplexity over that of training, from ppl)" in text
    assert ["test", "4", "0.6", "1.822", "80.0%", "50", "f1", "0.7"] in [line.split() for line in text.splitlines()]
    assert "Findings" not in text


def test_the_document_has_the_public_fields(run: Path) -> None:
    """file, config, signals, alerts, recommendations, telemetry_issues; strict JSON."""
    document = _document(run)
    assert {"schema", "file", "config", "signals", "alerts", "recommendations", "telemetry_issues"} <= document.keys()
    assert document["recommendations"] == document["alerts"] == document["telemetry_issues"] == []


def test_a_loss_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    """With the step at which it began; JSON stays strict."""

    def recorded(writer: TelemetryWriter) -> None:
        for step, loss in enumerate([1.0, math.nan, math.inf], 1):
            writer.train_step(step, loss=loss)

    path = _record(tmp_path / "run.jsonl", recorded)
    assert _codes(path)[0] == "loss_nonfinite"
    assert "train_step/loss is NaN at step 2" in _monitor(path).stdout


def test_a_killed_run_is_seen(run: Path) -> None:
    """No run_end: still going, or killed."""
    lines = run.read_bytes().splitlines(keepends=True)
    run.write_bytes(b"".join(lines[:-1]))
    assert _codes(run) == ["run_unfinished"]
    assert "no run_end, step 4 of 4" in _monitor(run).stdout


def test_a_journal_that_was_changed_after_its_end_is_seen(run: Path) -> None:
    """A finding that --fail-on knows; one that is intact is told as that."""
    assert "journal     sealed, intact\n" in _monitor(run).stdout
    assert _document(run)["signals"]["seal"] == {"line": 8, "lines": 7, "is_intact": True}  # type: ignore[index]
    run.write_bytes(run.read_bytes().replace(b'"loss":2.0', b'"loss":0.1', 1))
    changed = _monitor(run, "--fail-on", "journal_changed")
    assert changed.exit_code == 3
    assert (
        "journal     changed after its end: line 8 sealed its first 7 lines, and they are others now" in changed.stdout
    )


def test_a_run_of_an_older_release_has_no_seal(run: Path) -> None:
    """Nothing is said of it, and nothing found."""
    run.write_bytes(b"".join(_without_seal(line) for line in run.read_bytes().splitlines()))
    assert "journal  " not in _monitor(run).stdout
    assert _codes(run) == []


def test_a_crash_is_seen(tmp_path: Path) -> None:
    """An exception in the recorded block ends the run with status error."""

    def recorded(writer: TelemetryWriter) -> None:
        writer.train_step(1, loss=1.0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _record(tmp_path / "run.jsonl", recorded)
    assert _codes(tmp_path / "run.jsonl")[0] == "run_failed"


def test_recorded_alerts_are_shown_and_counted(tmp_path: Path) -> None:
    """Every severity, once per code with its count; --fail-on sees them by severity and by code."""

    def recorded(writer: TelemetryWriter) -> None:
        for step in (1, 2):
            writer.alert(severity=Severity.CRITICAL, code="OVERHEAT", message="too \x1b[31mhot", step=step)

    path = _record(tmp_path / "run.jsonl", recorded)
    result = _monitor(path)
    assert result.exit_code == 0
    assert "critical OVERHEAT x2 (step 2)\n    too \\x1b[31mhot" in result.stdout
    assert [_monitor(path, "--fail-on", bar).exit_code for bar in ("error", "OVERHEAT", "LR_HIGH")] == [3, 3, 0]


def test_a_slip_of_the_pen_in_fail_on_is_refused(tmp_path: Path) -> None:
    """It would never fail; a code that only the run's own alerts have is taken."""
    path = _record(tmp_path / "run.jsonl", lambda writer: writer.train_step(1, loss=1.0))
    slip = _monitor(path, "--fail-on", "errors")
    assert slip.exit_code == 2
    assert "'errors' is no severity and no code; error?" in slip.stderr
    assert _monitor(path, "--fail-on", "OVERHEAT").exit_code == 0


def test_a_large_gap_is_reported_at_the_threshold_asked_for(tmp_path: Path) -> None:
    """1.5x by default, inclusive; --gap-threshold moves it."""

    def recorded(writer: TelemetryWriter) -> None:
        writer.train_step(1, loss=1.0)
        writer.eval(1, split="train", metrics={"ppl": 2.0})
        writer.eval(1, split="val", metrics={"ppl": 3.0})

    path = _record(tmp_path / "run.jsonl", recorded)
    assert _codes(path) == ["memorization_gap"]
    assert _document(path, "--gap-threshold", "1.6")["recommendations"] == []


def test_a_gap_that_cannot_be_told_says_why(tmp_path: Path) -> None:
    """A run with training steps and no held-out evaluation."""
    path = _record(tmp_path / "run.jsonl", lambda writer: writer.train_step(1, loss=1.0))
    assert _codes(path) == ["gap_unavailable"]
    assert "no held-out evaluation" in _monitor(path).stdout


def test_torn_and_foreign_lines_are_counted(run: Path) -> None:
    """Each with its line number; the run is read all the same."""
    with run.open("ab") as file:
        file.write(b'{"schema": "gradience.vnext.telemetry/v1", "ts"\nnot json\n')
    document = _document(run)
    assert document["telemetry_issue_count"] == 2
    assert [issue["line"] for issue in document["telemetry_issues"]] == [9, 10]  # type: ignore[attr-defined]
    assert "Lines that could not be read as they are: 2" in _monitor(run).stdout


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_stdin_is_a_file(run: Path, compress: Callable[[bytes], bytes]) -> None:
    """`-`, plain or compressed."""
    result = _monitor("-", "--json", stdin=compress(run.read_bytes()))
    assert json.loads(result.stdout)["signals"]["last_step"] == 4


def test_a_compressed_file_is_read(run: Path) -> None:
    """`run.jsonl.gz`."""
    packed = run.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(run.read_bytes()))
    assert _monitor(packed).exit_code == 0


@pytest.mark.parametrize("content", [b"", b"import os\n", b"\x00\xff" * 50, None])
def test_a_file_without_telemetry_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """One line on stderr, exit code 1."""
    path = tmp_path / "x.jsonl"
    if content is not None:
        path.write_bytes(content)
    result = _monitor(path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_a_strict_reading_fails_at_the_first_bad_line(run: Path) -> None:
    """--strict-schema: exit code 1 with the line's number."""
    with run.open("ab") as file:
        file.write(b"{}\n")
    result = _monitor(run, "--strict-schema")
    assert result.exit_code == 1
    assert "line 9" in result.stderr


def test_one_run_of_several_can_be_chosen(run: Path) -> None:
    """The last by default; one that is not there is refused."""
    first = json.loads(run.read_text().splitlines()[0])["run_id"]
    with TelemetryWriter(run) as writer:
        writer.run_start(CONFIG)
    assert _document(run)["signals"]["last_step"] is None  # type: ignore[index]
    assert _document(run, "--run-id", first)["signals"]["last_step"] == 4  # type: ignore[index]
    assert _monitor(run, "--run-id", "gone").exit_code == 1


def test_a_file_of_the_public_release_is_read(tmp_path: Path) -> None:
    """Bare NaN, an alert with `metadata`, a split called eval, a lora_audit of its own shape."""
    head = '{"schema": "gradience.vnext.telemetry/v1", "ts": 1.0, "run_id": "a", "step": 1, "event": '
    events = [
        '"run_start", "config": {"lora": {"r": 8}}, "meta": {}}',
        '"train_step", "loss": NaN}',
        '"eval", "split": "eval", "metrics": {"loss": 2.0, "epoch": 1.0}}',
        '"alert", "severity": "warning", "code": "GUARD_ROLLBACK", "message": "back", "metadata": {"x": 1}}',
        '"metrics", "kind": "lora_audit", "metrics": {"energy_rank_90_p50": 1, "energy_rank_90_p90": 3}}',
        '"run_end", "status": "ok", "reason": null}',
    ]
    path = tmp_path / "run.jsonl"
    path.write_text("".join(f"{head}{event}\n" for event in events))
    result = _monitor(path, "--verbose")
    assert result.exit_code == 0
    assert "k@90 1/3" in result.stdout
    assert _codes(path)[0] == "loss_nonfinite"


def test_the_document_has_every_series(run: Path) -> None:
    """In columns, from the same pass as the rest."""
    series = _document(run)["series"]
    assert isinstance(series, dict)
    assert {"loss", "lr", "grad_norm", "eval/train/loss", "eval/test/f1"} <= series.keys()
    assert series["loss"]["mean"] == [2.0, 1.0, 2 / 3, 0.5]


def test_one_of_several_runs_that_cannot_be_read_has_a_line(run: Path, tmp_path: Path) -> None:
    """The others have their rows; exit code 1."""
    result = _monitor(run, tmp_path / "gone.jsonl")
    assert result.exit_code == 1
    assert "run.jsonl" in result.stdout
    assert "no such telemetry file" in result.stdout


def test_findings_of_several_runs_meet_one_bar(run: Path, tmp_path: Path) -> None:
    """As those of one do."""
    bad = _record(tmp_path / "bad.jsonl", lambda writer: writer.train_step(1, loss=math.nan))
    assert [_monitor(run, bad, "--fail-on", bar).exit_code for bar in ("loss_nonfinite", "run_failed")] == [3, 0]


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    """In one line."""
    result = _monitor(tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no .jsonl file in it is telemetry" in result.stderr


def test_detectors_run_over_a_file_as_they_do_in_the_recorder(tmp_path: Path) -> None:
    """A run that was recorded without them has their findings, their alerts in the document, and meets the bar."""

    def recorded(writer: TelemetryWriter) -> None:
        for step in range(1, 81):
            writer.train_step(step, loss=9.0 if step == 60 else 1.0 + 0.01 * (step % 3))

    path = _record(tmp_path / "run.jsonl", recorded)
    document = _document(path)
    assert "loss_spike" in _codes(path)
    assert [(one["code"], one["step"]) for one in document["detectors"]] == [("loss_spike", 60)]  # type: ignore[attr-defined]
    assert document["alerts"] == []
    assert _monitor(path, "--fail-on", "loss_spike").exit_code == 3
    assert "info loss_spike (medium confidence)\n    The training loss of 9 at step 60" in _monitor(path).stdout
