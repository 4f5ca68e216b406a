"""Tests of `gradience_wandb` online: a real wandb-core against the loopback server, with what goes wrong on the way."""

import base64
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradience_wandb import WandbSink

from gradience.errors import RejectedError, TargetGoneError, UnavailableError
from gradience.mirror.sink import Batch, Run
from gradience.testing import check_sink, samples
from tests.integrations.wandb_double import faults
from tests.integrations.wandb_double.server import KEY, Server, serving

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

MakeBatch = Callable[..., Batch]
START = {"event": "run_start", "config": {"lora": {"r": 8}}}
END = {"event": "run_end", "status": "ok"}


@pytest.fixture
def server(wandb_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the test's own, as the environment says; its runs are transmitted as fast as wandb can."""
    with serving() as made:
        for key, value in made.env(wandb_home).items():
            monkeypatch.setenv(key, value)
        monkeypatch.delenv("WANDB_MODE", raising=False)
        monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")
        yield made


@pytest.fixture
def sink(server: Server, run: Run) -> Iterator[WandbSink]:  # noqa: ARG001 - the sink's constructor looks for it
    """An open sink."""
    made = WandbSink(project="p")
    made.open(run)
    yield made
    made.close(None, 5)


def _step(step: int) -> dict[str, Any]:
    return {"event": "train_step", "step": step, "loss": float(step)}


def _steps(server: Server) -> dict[int, int]:
    """How often each line stands in the run."""
    return {step: len(rows) for step, rows in server.runs["run-1"].rows.items()}


def test_the_sink_keeps_the_contract(server: Server) -> None:
    """The suite that every sink must pass."""

    def held(tracked: Any) -> object:
        found = server.runs.get(tracked.id.rpartition("/")[2])
        rows = {step: [sorted(row) for row in rows] for step, rows in found.rows.items()} if found else {}
        return found and (rows, found.settings, found.summary["gradience"], found.tags, len(found.alerts), found.state)

    check_sink(WandbSink, held, libraries=["wandb"], secrets=[KEY])


def test_a_whole_run_stands_in_wandb_as_in_its_journal(server: Server, sink: WandbSink, batch: MakeBatch) -> None:
    """Rows, configuration, tags and the end; the run is never taken for finished while it goes on."""
    alert = {"event": "alert", "step": 1, "severity": "critical", "code": "LOSS_NAN", "message": "m"}
    sink.deliver(batch(START, _step(1), alert))
    found = server.runs["run-1"]
    assert (found.state, found.settings["lora"], found.tags) == ("running", {"r": 8}, ["gradience:LOSS_NAN"])
    sink.deliver(batch(END, first=4))
    assert (found.states, found.exit_code, _steps(server)) == (["finished"], 0, {1: 1, 2: 1, 3: 1, 4: 1})
    assert [(one.title, one.severity) for one in found.alerts] == [("LOSS_NAN", "ERROR")]


def test_what_comes_after_the_end_leaves_a_finished_run_finished(
    server: Server, sink: WandbSink, run: Run, batch: MakeBatch
) -> None:
    """An audit weeks later, by another process; looking alone changes nothing."""
    sink.deliver(batch(START, {**END, "status": "error"}))
    assert server.runs["run-1"].state == "failed"
    late = WandbSink(project="p")
    assert late.open(run).position is not None
    assert server.runs["run-1"].resumed == 0
    late.deliver(batch(_step(1), first=3))
    late.close(None, 5)
    assert (server.runs["run-1"].state, _steps(server)) == ("failed", {1: 1, 2: 1, 3: 1})


def test_an_end_that_wandb_was_not_told_of_is_told_again(
    server: Server, sink: WandbSink, run: Run, batch: MakeBatch
) -> None:
    """Whoever wrote the last row was killed before that: the run would go on for ever."""
    last = batch(START, END)
    sink.deliver(last)
    server.runs["run-1"].become("running")
    next_one = WandbSink(project="p")
    assert next_one.open(run).position is None
    next_one.deliver(last)
    next_one.close(None, 5)
    assert (server.runs["run-1"].state, _steps(server)) == ("finished", {1: 1, 2: 1})


@pytest.mark.parametrize(("status", "error"), [(413, RejectedError), (403, TargetGoneError)])
def test_a_core_that_gave_up_is_replaced(
    server: Server, sink: WandbSink, batch: MakeBatch, status: int, error: type[Exception]
) -> None:
    """It would go on taking rows and upload none; the same batch comes again, and stands there once."""
    sink.deliver(batch(START))
    server.faults.set(faults.status(status), "file_stream")
    lines = batch(_step(1), _step(2), first=2)
    for expected in ([UnavailableError] if error is RejectedError else []) + [error]:
        with pytest.raises(expected, match=f"refused rows of run me/p/run-1 with status {status}"):
            sink.deliver(lines)
    server.faults.clear()
    sink.deliver(lines)
    assert _steps(server) == {1: 1, 2: 1, 3: 1}


def test_a_core_that_hangs_costs_one_attempt(
    server: Server, sink: WandbSink, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for it, and the next attempt goes on with another one."""
    sink.deliver(batch(START))
    core = sink._core
    assert core is not None
    pid = core.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with monkeypatch.context() as impatient:
        impatient.setattr("gradience_wandb.session.DELIVER_S", 0.5)
        with pytest.raises(UnavailableError):
            sink.deliver(batch(_step(1), first=2))
    assert not Path(f"/proc/{pid}").exists()
    sink.deliver(batch(_step(1), first=2))
    assert _steps(server) == {1: 1, 2: 1}


@pytest.mark.parametrize("operation", ["file_stream", faults.EVERY])
def test_a_batch_in_doubt_is_never_logged_twice(
    server: Server, sink: WandbSink, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """It comes again, and its rows and alerts stand once, whether the alerts came through before or not."""
    sink.deliver(batch(START))
    server.faults.set(faults.HANG, operation)
    alert = {"event": "alert", "step": 1, "severity": "info", "code": "", "message": "m"}  # wandb sends a tag 5 s later
    lines = batch(_step(1), alert, first=2)
    with monkeypatch.context() as impatient:
        impatient.setattr("gradience_wandb.remote.CONFIRM_S", 1.0)
        with pytest.raises(UnavailableError, match="not confirmed yet: "):
            sink.deliver(lines)
    server.faults.clear()
    sink.deliver(lines)
    assert (_steps(server), len(server.runs["run-1"].alerts)) == ({1: 1, 2: 1, 3: 1}, 1)


def test_a_table_whose_file_was_refused_comes_again(
    server: Server, run: Run, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row stands there and is never replaced, so the file has to get the name that the row has for it."""
    metrics = {"modules": {"name": ["a"], "r": [8]}}
    lines = batch(START, {"event": "metrics", "kind": "lora_audit", "step": 1, "metrics": metrics})
    sink = WandbSink(project="p", artifacts=["telemetry"])
    sink.open(run)
    server.faults.set(faults.status(403), "upload")
    with monkeypatch.context() as impatient:
        impatient.setattr("gradience_wandb.remote.CONFIRM_S", 0.0)
        for _ in range(2):
            with pytest.raises(UnavailableError, match="the server does not show them"):
                sink.deliver(lines)
    server.faults.clear()
    sink.deliver(lines)
    sink.close(None, 5)
    (row,) = server.runs["run-1"].rows[2]
    assert row["lora_audit/modules"]["path"] in server.runs["run-1"].files
    assert _steps(server) == {1: 1, 2: 1}


def test_a_table_whose_file_never_came_is_no_delivered_audit(server: Server, run: Run, batch: MakeBatch) -> None:
    """Whoever sent its row and the position may have been killed then: the next sink uploads the file."""
    metrics = {"modules": {"name": ["a"], "r": [8]}}
    lines = batch({"event": "metrics", "kind": "lora_audit", "step": 1, "metrics": metrics}, _step(1))
    positions = []
    for _ in range(3):
        sink = WandbSink(project="p", artifacts=["telemetry"])
        positions.append(sink.open(run).position)
        sink.deliver(lines)
        sink.close(None, 5)
        found = server.runs["run-1"]
        (row,) = found.rows[1]
        assert row["lora_audit/modules"]["path"] in found.files
        if len(positions) == 1:
            found.files = {}
    assert positions == [None, None, lines.position]
    assert _steps(server) == {1: 1, 2: 1}


def test_advice_that_comes_in_a_later_process_has_the_files_of_its_audit(
    server: Server, run: Run, batch: MakeBatch
) -> None:
    """The audit is read back from its artifact, whose next version has both."""
    metrics = {"utilization_mean": 0.5, "adapter": {"fingerprint": "f"}}
    audit = {"event": "metrics", "kind": "lora_audit", "step": 1, "metrics": metrics}
    advice = {"event": "recommendation", "step": 1, "recommendations": [], "verdict": "ok", "adapter": "f"}
    for lines in (batch(audit), batch(advice, first=2)):
        sink = WandbSink(project="p")
        sink.open(run)
        sink.deliver(lines)
        sink.close(None, 5)
    first, second = [one for one in server.held.artifacts if one.type == "gradience-audit"]
    assert list(second.contents) == list(first.contents) == ["audit.json", "report.html", "report.md"]
    digest = base64.b64decode(second.contents["audit.json"]["digest"]).hex()
    document = json.loads(server.held.blobs[digest])
    assert (document["utilization_mean"], document["advice"]["verdict"]) == (0.5, "ok")
    assert str(server.runs["run-1"].notes).startswith("**Verdict: ok**")


def test_a_deleted_run_is_no_place_for_a_new_one(server: Server, sink: WandbSink, run: Run, batch: MakeBatch) -> None:
    """Its id cannot be used again, and a new run would lack what went to the old one."""
    sink.deliver(batch(START))
    server.delete("run-1")
    with pytest.raises(TargetGoneError, match="W&B run me/p/run-1, which earlier deliveries went to, is not there"):
        WandbSink(project="p").open(Run(run_id=run.run_id, journal=run.journal, started=0.0, tracked="me/p/run-1"))


def test_without_a_login_nobody_is_asked_for_one(server: Server, tmp_path: Path) -> None:
    """On a terminal, where wandb itself would wait for an answer: one clear line, and nothing goes over the network."""
    journal = samples.write(tmp_path / "run.jsonl", samples.every_event("r"))
    command = [sys.executable, "-m", "gradience", "sync", str(journal), "--to", "gradience_wandb:WandbSink"]
    environ = {key: value for key, value in os.environ.items() if key not in ("WANDB_API_KEY", "WANDB_SILENT")}
    ours, theirs = pty.openpty()
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, env=environ, timeout=60, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 4
    assert "Nobody is logged in to W&B at http://127.0.0.1" in done.stderr
    assert server.asked == []


def test_an_outage_at_the_start_is_waited_out(server: Server, run: Run, batch: MakeBatch) -> None:
    """The same sink opens the run once the server is back."""
    sink = WandbSink(project="p")
    server.refuse()
    with pytest.raises(UnavailableError, match=r"no answer from http://127\.0\.0\.1"):
        sink.open(run)
    server.listen()
    sink.open(run)
    sink.deliver(batch(START))
    sink.close(None, 5)
    assert _steps(server) == {1: 1}


def test_a_run_that_wandb_uploaded_is_found_there(server: Server, wandb_home: Path, run: Run, batch: MakeBatch) -> None:
    """Offline first: `wandb sync` accepts the files, and the journal's lines are not delivered again."""
    lines = batch(START, _step(1), END)
    offline = WandbSink(project="p", mode="offline")
    offline.open(run)
    offline.deliver(lines)
    offline.close(None, 5)
    (folder,) = (wandb_home / "wandb").glob("offline-run-*")
    subprocess.run([sys.executable, "-m", "wandb", "sync", str(folder)], check=True, capture_output=True, timeout=60)
    online = WandbSink(project="p")
    assert online.open(run).position == lines.position
    online.close(None, 5)
    assert (_steps(server), server.runs["run-1"].state) == ({1: 1, 2: 1, 3: 1}, "finished")
