"""The recorder."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from gradience.errors import TelemetryError, TextViolationError
from gradience.vnext import lock, state
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import ConfigSnapshot, LoRAConfigSnapshot, Recommendation, Severity


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that holds nothing but strict JSON."""
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_bytes().splitlines()]


def test_the_example_of_the_readme_works(tmp_path: Path) -> None:
    """Every method leaves one line, in order, with a whole envelope."""
    path = tmp_path / "runs" / "run.jsonl"
    with TelemetryWriter(path) as tw:
        tw.run_start(ConfigSnapshot(lora=LoRAConfigSnapshot(r=8, alpha=16)), meta={"experiment": "demo"})
        tw.train_step(1, loss=2.3, lr=5e-5)
        tw.eval(100, split="test", metrics={"accuracy": 0.92, "n": 100})
        tw.metrics(100, kind="spectral", metrics={"kappa": 3.0})
        tw.alert(severity=Severity.WARNING, code="LR_HIGH", message="Learning rate may be too high")
        tw.recommendation(
            [Recommendation(severity=Severity.INFO, action="lower_lr", message="m")], step=100, verdict="ok"
        )
        tw.run_end(status="ok")
    lines = read(path)
    assert [line["event"] for line in lines] == [
        "run_start",
        "train_step",
        "eval",
        "metrics",
        "alert",
        "recommendation",
        "run_end",
    ]
    assert {tuple(line)[:5] for line in lines} == {("schema", "ts", "run_id", "event", "step")}
    assert {line["run_id"] for line in lines} == {tw.run_id}
    assert lines[0]["config"]["lora"]["alpha_over_r"] == 2.0
    assert lines[5]["recommendations"] == [{"severity": "info", "action": "lower_lr", "message": "m"}]
    assert lines[5]["verdict"] == "ok"


def test_scalars_of_numpy_and_torch_are_numbers(tmp_path: Path) -> None:
    """Not text that later cannot be compared."""
    with TelemetryWriter(tmp_path / "r") as tw:
        tw.train_step(np.int64(2), loss=torch.tensor(2.5), lr=[np.float32(0.5)], grad_norm=np.float64(1.0))
    line = read(tmp_path / "r")[0]
    assert (line["step"], line["loss"], line["lr"], line["grad_norm"]) == (2, 2.5, [0.5], 1.0)


def test_none_is_left_out_of_a_train_step(tmp_path: Path) -> None:
    """As the public release does."""
    with TelemetryWriter(tmp_path / "r") as tw:
        tw.train_step(1, loss=1.0, epoch=None)
    assert set(read(tmp_path / "r")[0]) == {"schema", "ts", "run_id", "event", "step", "loss"}


def test_extras_may_have_any_name(tmp_path: Path) -> None:
    """Even those of the envelope and of the parameters: nothing is overwritten, nothing raises."""
    with TelemetryWriter(tmp_path / "r", run_id="mine") as tw:
        tw.train_step(1, run_id="X", event="Y", self=2)
    line = read(tmp_path / "r")[0]
    assert (line["run_id"], line["run_id_"], line["event"], line["event_"], line["self"]) == (
        "mine",
        "X",
        "train_step",
        "Y",
        2,
    )
    assert tw.renamed == 2


def test_an_exception_ends_the_run_as_an_error(tmp_path: Path) -> None:
    """With its type, never its text; it reaches the user as it was."""
    with pytest.raises(ZeroDivisionError, match="secret text"), TelemetryWriter(tmp_path / "r"):
        raise ZeroDivisionError("secret text")
    assert {key: read(tmp_path / "r")[-1][key] for key in ("status", "reason")} == {
        "status": "error",
        "reason": "ZeroDivisionError",
    }


@pytest.mark.parametrize(
    ("raised", "status"), [(KeyboardInterrupt(), "aborted"), (SystemExit(0), "ok"), (SystemExit(2), "error")]
)
def test_how_a_block_is_left_is_how_the_run_ended(tmp_path: Path, raised: BaseException, status: str) -> None:
    """Ctrl-C is an abort; sys.exit(0) is a clean end."""

    def record() -> None:
        with TelemetryWriter(tmp_path / "r") as tw:
            tw.train_step(1)
            raise raised

    with pytest.raises(type(raised)):
        record()
    assert read(tmp_path / "r")[-1]["status"] == status


def test_a_clean_end_writes_one_run_end(tmp_path: Path) -> None:
    """If none was written; closing twice changes nothing."""
    for name, ends in (("a", []), ("b", ["aborted"])):
        with TelemetryWriter(tmp_path / name) as tw:
            tw.run_start()
            for status in ends:
                tw.run_end(status)
        tw.close()
        assert [line["status"] for line in read(tmp_path / name)[1:]] == (ends or ["ok"])


def test_a_session_without_events_leaves_no_trace(tmp_path: Path) -> None:
    """Opening a crashed run's file does not make it a success."""
    with TelemetryWriter(tmp_path / "r"):
        pass
    assert (tmp_path / "r").read_bytes() == b""


def start(path: Path, *, end: str | None, **options: Any) -> str:
    """Record a run that ends with a status, or not at all; its run_id."""
    tw = TelemetryWriter(path, **options)
    tw.run_start()
    if end:
        tw.run_end(end)
    tw.replaced()
    return tw.run_id


@pytest.mark.parametrize(
    ("end", "options", "goes_on"),
    [
        (None, {}, True),
        ("error", {}, True),
        ("aborted", {}, True),
        ("ok", {}, False),
        ("ok", {"resume": True}, True),
        (None, {"resume": False}, False),
        (None, {"run_id": "other"}, False),
    ],
)
def test_a_run_that_did_not_end_ok_goes_on(
    tmp_path: Path, end: str | None, options: dict[str, Any], goes_on: bool
) -> None:
    """Under its run_id; one that did is followed by a new one; `resume` overrides. Nothing is ever lost."""
    first = start(tmp_path / "r", end=end)
    before = (tmp_path / "r").read_bytes()
    second = start(tmp_path / "r", end="ok", **options)
    assert (second == first) == goes_on
    assert (tmp_path / "r").read_bytes().startswith(before)


def test_an_audit_appended_to_an_older_run_does_not_make_it_the_last(tmp_path: Path) -> None:
    """The last run is the one that started last."""
    older = start(tmp_path / "r", end="ok")
    newer = start(tmp_path / "r", end=None)
    start(tmp_path / "r", end="ok", run_id=older)
    with TelemetryWriter(tmp_path / "r", run_id=newer) as tw:
        tw.train_step(1)
    assert start(tmp_path / "r", end="ok") != older


def test_resume_without_a_run_begins_one(tmp_path: Path) -> None:
    """A restartable job may always ask for it."""
    start(tmp_path / "r", end="ok", resume=True)
    assert len(read(tmp_path / "r")) == 2


def test_after_a_torn_line_recording_goes_on(tmp_path: Path) -> None:
    """The torn line stays as it is, alone, and the run keeps its run_id."""
    first = start(tmp_path / "r", end=None)
    with (tmp_path / "r").open("ab") as stream:
        stream.write(b'{"schema":"gradience.vnext.tele')
    assert start(tmp_path / "r", end="ok") == first
    lines = (tmp_path / "r").read_bytes().splitlines()
    assert lines[1] == b'{"schema":"gradience.vnext.tele'
    assert [json.loads(line)["event"] for line in (lines[0], *lines[2:])] == ["run_start", "run_start", "run_end"]


def test_a_second_writer_in_the_process_replaces_the_first(tmp_path: Path) -> None:
    """A notebook cell that runs again goes on with its run; the old writer is silent and told of."""
    first = TelemetryWriter(tmp_path / "r")
    first.run_start()
    second = TelemetryWriter(tmp_path / "x" / ".." / "r")
    second.run_start()
    first.train_step(1)
    first.close()
    second.close()
    assert first.run_id == second.run_id
    assert first.lost == 1
    assert [line["event"] for line in read(tmp_path / "r")] == ["run_start", "run_start", "run_end"]


def test_a_second_recorder_in_another_process_is_refused(tmp_path: Path) -> None:
    """In one line that names the first; once that is closed, the file is free."""
    program = (
        "import sys; from gradience.vnext.telemetry import TelemetryWriter; TelemetryWriter(sys.argv[1]).run_start()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "r")]
    with TelemetryWriter(tmp_path / "r") as tw:
        tw.run_start()
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert f"process {os.getpid()}" in refused.stderr
    assert len(read(tmp_path / "r")) == 2
    subprocess.run(command, check=True)


def test_without_locks_recording_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some network file systems have none."""

    def unsupported(path: Path) -> NoReturn:
        raise OSError(f"no locks for {path}")

    monkeypatch.setattr(lock, "acquire", unsupported)
    start(tmp_path / "r", end="ok")
    assert len(read(tmp_path / "r")) == 2
    assert "no lock on" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_fails_leaves_the_file_to_its_parent(tmp_path: Path) -> None:
    """It neither puts a deleted file back nor reaches for the lock, and has nothing to say about either."""
    path, said = tmp_path / "r", tmp_path / "said"
    with TelemetryWriter(path) as tw:
        tw.run_start()
        path.unlink()
        child = os.fork()
        if not child:
            handler = logging.FileHandler(said)
            logging.getLogger("gradience").addHandler(handler)
            with contextlib.suppress(ValueError), tw:
                raise ValueError("in a worker")
            handler.close()
            os._exit(int(path.exists()))
        assert os.waitpid(child, 0)[1] == 0
        assert said.read_text() == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_nothing(tmp_path: Path) -> None:
    """Neither events nor an end of its parent's run, and it does not free the parent's lock."""
    with TelemetryWriter(tmp_path / "r") as tw:
        tw.run_start()
        child = os.fork()
        if not child:
            tw.train_step(1)
            tw.close()
            os._exit(0)
        os.waitpid(child, 0)
        place = state.folder(tmp_path / "r") / state.RECORDER_LOCK
        seen = subprocess.run(
            [sys.executable, "-c", f"from gradience.vnext import lock; print(lock.holder({str(place)!r}).pid)"],
            capture_output=True,
            check=True,
            text=True,
        )
    assert int(seen.stdout) == os.getpid()
    assert [line["event"] for line in read(tmp_path / "r")] == ["run_start", "run_end"]


def test_ranks_other_than_0_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even an empty file; rank 0 writes."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, events in (("1", 0), ("0", 2)):
        monkeypatch.setenv("RANK", rank)
        start(tmp_path / rank, end="ok")
        assert (len(read(tmp_path / rank)) if events else (tmp_path / rank).exists()) == events


def test_a_rank_without_a_launcher_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """RANK=16 may be meant for the LoRA rank: silence must not go unnoticed."""
    monkeypatch.setenv("RANK", "16")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    TelemetryWriter(tmp_path / "r").close()
    assert "nothing is recorded here" in caplog.text


def test_a_full_disk_does_not_end_training(caplog: pytest.LogCaptureFixture) -> None:
    """Said once, counted every time."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with TelemetryWriter("/dev/full") as tw:
        for step in range(3):
            tw.train_step(step, loss=1.0)
    assert tw.lost == 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "No space left" in caplog.text


def test_strict_raises_what_is_lost() -> None:
    """For those who would rather stop."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    tw = TelemetryWriter("/dev/full", strict=True)
    with pytest.raises(TelemetryError, match=r"cannot record train_step to /dev/full: .*No space left"):
        tw.train_step(1)
    tw.replaced()


def test_a_loss_in_strict_mode_does_not_hide_the_users_exception() -> None:
    """The block is left with the error that it was left with."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(KeyError), TelemetryWriter("/dev/full", strict=True):
        raise KeyError


def test_events_after_close_are_counted_not_raised(tmp_path: Path) -> None:
    """A late callback does no harm."""
    tw = TelemetryWriter(tmp_path / "r")
    tw.close()
    tw.train_step(1)
    assert tw.lost == 1


def test_an_exception_after_close_adds_nothing(tmp_path: Path) -> None:
    """The run had ended; nothing is lost either."""
    tw = TelemetryWriter(tmp_path / "r")
    tw.train_step(1)
    tw.close()
    with pytest.raises(KeyError), tw:
        raise KeyError
    assert (tw.lost, [line["event"] for line in read(tmp_path / "r")]) == (0, ["train_step", "run_end"])


class _Evil(dict[str, Any]):
    """A mapping that cannot be read."""

    def items(self) -> NoReturn:
        raise RuntimeError


@pytest.mark.parametrize("odd", [object(), _Evil(a=1), {"a": {1: object()}}, [1], 3, "x", None])
def test_nothing_that_is_given_raises(tmp_path: Path, odd: Any) -> None:
    """Whatever a caller gets wrong, a valid event is written."""
    with TelemetryWriter(tmp_path / "r") as tw:
        tw.run_start(odd, meta=odd)
        tw.train_step(odd, loss=odd, lr=odd, x=odd)
        tw.eval(odd, split=odd, metrics=odd)
        tw.metrics(odd, kind=odd, metrics=odd)
        tw.alert(severity=odd, code=odd, message=odd, context=odd)
        tw.recommendation(odd)
        tw.log(odd, odd, x=odd)
    lines = read(tmp_path / "r")
    assert (len(lines), tw.lost) == (8, 0)
    assert {type(line[key]) for line in lines for key in ("config", "meta", "metrics", "context") if key in line} <= {
        dict,
        str,
    }


def test_text_is_private_by_default(tmp_path: Path) -> None:
    """Long text and secrets do not reach the file, in values or keys, at any depth."""
    with TelemetryWriter(tmp_path / "r") as tw:
        tw.run_start({"notes": "n" * 300, "extras": {"k" * 300: 1}}, meta={"hub_token": "t0ken", "url": "http://u:p@h"})
        tw.alert(severity="info", code="X", message="m" * 257)
    text = (tmp_path / "r").read_text()
    assert not any(private in text for private in ("nnn", "kkk", "mmm", "t0ken", "u:p"))
    assert tw.redacted == 5


def test_what_the_environment_calls_a_secret_is_nowhere_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of events included, which are written by somebody's format string as well."""
    monkeypatch.setenv("WANDB_API_KEY", "opensesame-opensesame")
    with TelemetryWriter(tmp_path / "run.jsonl") as writer:
        writer.log("login opensesame-opensesame", note="with opensesame-opensesame")
    text = (tmp_path / "run.jsonl").read_text(encoding="utf-8")
    assert ("opensesame" in text, text.count("[REDACTED]")) == (False, 2)


def test_text_can_be_allowed_but_secrets_never(tmp_path: Path) -> None:
    """allow_text=True, or no limit."""
    for name, options in (("a", {"allow_text": True}), ("b", {"max_str_len": None})):
        with TelemetryWriter(tmp_path / name, **options) as tw:
            tw.log("prompt", text="x" * 1000, url="http://u:p@h")
        line = read(tmp_path / name)[0]
        assert (line["text"], line["url"]) == ("x" * 1000, "http://[REDACTED]@h")


def test_text_can_be_refused(tmp_path: Path) -> None:
    """on_text_violation="raise" raises a ValueError, and nothing is written."""
    tw = TelemetryWriter(tmp_path / "r", on_text_violation="raise")
    with pytest.raises(TextViolationError, match="/message"):
        tw.alert(severity="info", code="X", message="m" * 257)
    tw.close()
    assert read(tmp_path / "r") == []


def test_refusing_text_does_not_hide_the_users_exception(tmp_path: Path) -> None:
    """Not even when the exception's name is over the limit."""
    with pytest.raises(ZeroDivisionError), TelemetryWriter(tmp_path / "r", max_str_len=3, on_text_violation="raise"):
        raise ZeroDivisionError


def test_threads_may_share_a_writer(tmp_path: Path) -> None:
    """Every line is whole, none is missing."""
    with TelemetryWriter(tmp_path / "r") as tw:

        def work() -> None:
            for step in range(500):
                tw.train_step(step, loss=float(step))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(read(tmp_path / "r")) == 4001


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_str_len": 0}, "max_str_len"),
        ({"on_text_violation": "ignore"}, "on_text_violation"),
        ({"run_id": ""}, "run_id"),
        ({"run_id": "x" * 300}, "run_id"),
    ],
)
def test_mistakes_are_raised_when_constructing(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """The argument is named; no file is made."""
    with pytest.raises(ValueError, match=message):
        TelemetryWriter(tmp_path / "r", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_recorded_to_is_refused(tmp_path: Path) -> None:
    """A directory, stdin's dash, somebody's data, a folder that is a file."""
    (tmp_path / "data.csv").write_text("loss,1\n")
    for path, message in (
        (tmp_path, "cannot write telemetry"),
        ("-", "name a file"),
        (tmp_path / "data.csv", "not a telemetry file"),
        (tmp_path / "data.csv" / "r", "cannot write telemetry"),
    ):
        with pytest.raises(TelemetryError, match=message):
            TelemetryWriter(path)
    assert (tmp_path / "data.csv").read_text() == "loss,1\n"
