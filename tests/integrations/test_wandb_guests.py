"""`gradience audit --log-to wandb` on runs that somebody else made: by real wandb, on the loopback double."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from gradience_wandb import WandbSink

from gradience.errors import TargetGoneError
from gradience.mirror.sink import Batch, Run
from tests.integrations.wandb_double import faults, server
from tests.integrations.wandb_double.held import TrackedRun
from tests.integrations.wandb_double.server import Server

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

SINK: Final = "gradience_wandb.sink:WandbSink"
SaveAdapter = Callable[..., Path]
MakeBatch = Callable[..., Batch]


@pytest.fixture
def tracker() -> Iterator[Server]:
    with server.serving() as serving:
        yield serving


@pytest.fixture
def adapter(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """An adapter in a checkpoint's folder, without a journal of its training."""
    return save_adapter(tmp_path / "out" / "checkpoint-30")


def _theirs(tracker: Server, run_id: str, output_dir: object, **more: Any) -> TrackedRun:
    """A run of somebody else's, as the Trainer's callback leaves it."""
    config = {"output_dir": {"value": str(output_dir)}, "lr": {"value": 1}, "_wandb": {"value": {"t": 1}}}
    lines = {0: {"_step": 0, "train/loss": 0.5}, 1: {"_step": 1, "train/loss": 0.1}}
    about: dict[str, Any] = {"project": "huggingface", "state": "finished", "summary": {"train/loss": 0.1}, **more}
    made = TrackedRun(
        entity="me", id=run_id, created=len(tracker.runs), name=f"run {run_id}", config=config, lines=lines, **about
    )
    made.tags, made.notes = ["mine"], "by hand"
    tracker.held.put(made)
    return made


def _audit(tracker: Server, adapter: Path, *options: str, **own: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradience", "audit", "--peft-dir", str(adapter), "--log-to", SINK, *options]
    environ = {**tracker.env(adapter.parents[1]), "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "1", **own}
    return subprocess.run(command, cwd=adapter.parents[1], env=environ, capture_output=True, text=True, check=False)


def _left_alone(run: TrackedRun) -> tuple[Any, ...]:
    return (
        run.history,
        run.state,
        run.states,
        run.exit_code,
        run.name,
        run.notes,
        run.settings["lr"],
        run.config["_wandb"]["value"],
    )


def test_a_finished_run_receives_the_audit(tracker: Server, adapter: Path) -> None:
    """Found by its output directory; rows, state, end and what a person wrote stay; repeated, it is the same."""
    theirs = _theirs(tracker, "u1", adapter.parent)
    before = _left_alone(theirs)
    done = _audit(tracker, adapter)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == f"{SINK}: run me/huggingface/u1  {tracker.address}/me/huggingface/runs/u1"
    assert _left_alone(theirs) == before
    assert theirs.summary["train/loss"] == 0.1
    assert theirs.summary["lora_audit/utilization_mean"] > 0
    assert theirs.summary["gradience"]["verdict"] == "review"
    assert theirs.tags == ["mine", "gradience:review", "gradience:over_provisioned"]
    assert json.loads(theirs.files["gradience/audit.json"])["advice"]["verdict"] == "review"
    assert theirs.files["gradience/report.md"].startswith(b"**Verdict: review**")
    assert theirs.settings["gradience"]["run_id"] in done.stderr
    held = (theirs.summary, theirs.tags, theirs.settings, theirs.files)
    assert _audit(tracker, adapter).returncode == 0
    assert (theirs.summary, theirs.tags, theirs.settings, theirs.files) == held
    assert list(tracker.runs) == ["u1"]


def test_of_several_runs_none_is_guessed(tracker: Server, adapter: Path) -> None:
    """They are listed; the one that is named then, by its id alone, receives what is in the journal meanwhile."""
    first, second = (_theirs(tracker, run_id, adapter.parent, sweep="s1") for run_id in ("u1", "u2"))
    unclear = _audit(tracker, adapter)
    assert "name the right run with --run: 2 in W&B logged output_dir" in unclear.stderr
    assert "me/huggingface/u1 (run u1), me/huggingface/u2 (run u2)" in unclear.stderr
    named = _audit(tracker, adapter, "--run", "u2", "--strict")
    assert named.returncode == 0, named.stderr
    assert second.summary["gradience"]["verdict"] == "review"
    assert (second.sweep, second.state) == ("s1", "finished")
    assert (first.tags, list(first.summary), len(tracker.runs)) == (["mine"], ["train/loss"], 2)


def test_a_run_that_goes_on_elsewhere_is_left_alone(tracker: Server, adapter: Path) -> None:
    """The audit gets a run of its own in the same group, which a sweep in the environment does not take for its own."""
    theirs = _theirs(tracker, "u1", adapter.parent, state="running", group="tries", sweep="s1")
    before = (_left_alone(theirs), theirs.tags, theirs.summary, theirs.settings, theirs.files)
    hijackers = {"WANDB_RUN_ID": "u1", "WANDB_RESUME": "must", "WANDB_TAGS": "x", "WANDB_NOTES": "x", "WANDB_NAME": "x"}
    done = _audit(tracker, adapter, "--strict", WANDB_SWEEP_ID="s1", WANDB_RUN_GROUP="x", **hijackers)
    assert done.returncode == 0, done.stderr
    assert "W&B run me/huggingface/u1 is not over" in done.stderr
    assert (_left_alone(theirs), theirs.tags, theirs.summary, theirs.settings, theirs.files) == before
    (ours,) = [run for run in tracker.runs.values() if run is not theirs]
    assert (ours.project, ours.group, ours.job_type, ours.sweep) == ("huggingface", "tries", "gradience-audit", None)
    assert ours.settings["gradience"]["of_run"] == "me/huggingface/u1"
    assert "x" not in (ours.name, ours.notes, *ours.tags)
    assert ours.summary["gradience"]["verdict"] == "review"
    assert ours.state == "finished"


def test_a_run_that_was_resumed_meanwhile_is_left_alone(
    tracker: Server, run: Run, batch: MakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two batches: it loses nothing of what it says then, and what was missing comes once it is over."""
    for key, value in tracker.env(tmp_path).items():
        monkeypatch.setenv(key, value)
    theirs = _theirs(tracker, "u1", tmp_path)
    audit = {"event": "metrics", "kind": "lora_audit", "step": 1, "metrics": {"utilization_mean": 0.5}}
    sink = WandbSink(run="me/huggingface/u1")
    sink.open(run)
    theirs.become("running")
    before = (theirs.summary, theirs.tags, theirs.settings, theirs.files)
    with pytest.raises(TargetGoneError, match="W&B run me/huggingface/u1 goes on again: deliver once more when"):
        sink.deliver(batch(audit))
    assert (theirs.summary, theirs.tags, theirs.settings, theirs.files) == before
    theirs.become("finished")
    sink.deliver(batch(audit))
    sink.close(None, 5)
    assert theirs.summary["lora_audit/utilization_mean"] == 0.5


def test_advice_that_comes_in_a_later_process_has_the_files_of_its_audit(
    tracker: Server, run: Run, batch: MakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit is read back from the run that it was put on."""
    for key, value in tracker.env(tmp_path).items():
        monkeypatch.setenv(key, value)
    theirs = _theirs(tracker, "u1", tmp_path)
    audit = {"event": "metrics", "kind": "lora_audit", "step": 1, "metrics": {"adapter": {"fingerprint": "f"}}}
    advice = {"event": "recommendation", "step": 1, "recommendations": [], "verdict": "ok", "adapter": "f"}
    for lines in (batch(audit), batch(advice, first=2)):
        sink = WandbSink(run="me/huggingface/u1")
        sink.open(run)
        sink.deliver(lines)
        sink.close(None, 5)
    document = json.loads(theirs.files["gradience/audit.json"])
    assert (document["adapter"], document["advice"]["verdict"]) == ({"fingerprint": "f"}, "ok")
    assert theirs.files["gradience/report.md"].startswith(b"**Verdict: ok**")


def test_a_run_that_may_not_be_changed_is_said_at_once(tracker: Server, adapter: Path) -> None:
    """What only a person can mend is not tried until the deadline; later the same command does it."""
    theirs = _theirs(tracker, "u1", adapter.parent)
    tracker.faults.set(faults.status(403), "UpsertBucket")
    began = time.monotonic()
    refused = _audit(tracker, adapter, "--strict")
    assert (refused.returncode, time.monotonic() - began < 30) == (4, True)
    assert "status 403" in refused.stderr
    tracker.faults.clear()
    assert _audit(tracker, adapter, "--strict").returncode == 0
    assert theirs.summary["gradience"]["verdict"] == "review"


def test_a_run_that_is_not_there_is_not_made_for_an_audit(tracker: Server, adapter: Path) -> None:
    """A slip in a name is one line, not a run of that name."""
    done = _audit(tracker, adapter, "--run", "u7", "--strict")
    assert done.returncode == 4
    assert f"There is no W&B run u7 at {tracker.address}: name it as ENTITY/PROJECT/ID" in done.stderr
    assert not tracker.runs
