"""Audits of runs that were recorded offline, as `wandb sync` brings them to the loopback double."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from gradience_wandb import WandbSink

from gradience.mirror.sink import Batch, Run
from gradience.vnext.telemetry import TelemetryWriter
from tests.integrations.wandb_double import server
from tests.integrations.wandb_double.server import Server

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

SINK: Final = "gradience_wandb.sink:WandbSink"
SaveAdapter = Callable[..., Path]
MakeBatch = Callable[..., Batch]
OFFLINE: Final = {"WANDB_MODE": "offline"}
USERS: Final = """
import sys, wandb
run = wandb.init(project="sft", entity="me", id="u1", name="first try", tags=["mine"], notes="by hand", group="tries",
                 config={"output_dir": "out", "lr": 1, "none": None},
                 settings=wandb.Settings(x_transaction_log_flush_interval=0.05))
for step in range(0, 50, 10):
    run.log({"train/loss": 1 / (step + 1), "nested": {"a": step}}, step=step)
if sys.argv[1] == "ends":
    run.finish(exit_code=1)
else:
    import os, time
    time.sleep(0.2)
    os._exit(1)
"""


@pytest.fixture
def tracker() -> Iterator[Server]:
    with server.serving() as serving:
        yield serving


@pytest.fixture
def adapter(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    return save_adapter(tmp_path / "out" / "checkpoint-30")


def _python(tracker: Server, place: Path, *command: str, **own: str) -> subprocess.CompletedProcess[str]:
    environ = {**tracker.env(place), **own}
    done = subprocess.run(
        [sys.executable, *command], cwd=place, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def _audit(tracker: Server, adapter: Path, *options: str, **own: str) -> str:
    words = ("-m", "gradience", "audit", "--peft-dir", "out/checkpoint-30", "--log-to", SINK, *options)
    return _python(tracker, adapter.parents[1], *words, **own).stderr


def _sync(tracker: Server, *folders: Path) -> None:
    _python(tracker, folders[0].parent, "-m", "wandb", "sync", *map(str, folders))


def _folders(place: Path) -> list[Path]:
    return sorted(place.glob("wandb/offline-run-*"))


def test_a_run_of_the_users_receives_the_audit(tracker: Server, adapter: Path, save_adapter: SaveAdapter) -> None:
    """From one directory beside its own; nothing that it had is lost, and it ends as it did.

    Until it is uploaded no other run takes its place online; and what was uploaded can only be added to there.
    """
    place = adapter.parents[1]
    _python(tracker, place, "-c", USERS, "ends", **OFFLINE)
    assert "W&B run u1 was recorded offline and is not on the server" in _audit(tracker, adapter)
    said = [_audit(tracker, save_adapter(adapter, needed=needed), "--strict", **OFFLINE) for needed in (2, 8)]
    assert said[-1].splitlines()[-1] == f"{SINK}: run u1"
    theirs, ours = _folders(place)
    _sync(tracker, theirs)
    before = tracker.runs["u1"]
    kept = (before.history, before.name, before.notes, before.group, before.state, before.exit_code)
    summary, settings = dict(before.summary), before.settings
    before.config["later"] = {"value": "by hand"}
    _sync(tracker, ours)
    after = tracker.runs["u1"]
    assert (after.history, after.name, after.notes, after.group, after.state, after.exit_code) == kept
    assert after.summary.items() >= {key: value for key, value in summary.items() if key != "_step"}.items()
    assert after.summary["lora_audit/utilization_mean"] > 0
    assert after.summary["gradience"]["suggested_rank"] == "8"
    assert after.settings.items() >= {**settings, "later": "by hand"}.items()
    assert after.tags == ["mine", "gradience:review", "gradience:over_provisioned"]
    assert {"gradience/audit.json", "gradience/report.md"} <= set(after.files)
    assert list(tracker.runs) == ["u1"]
    assert "W&B run u1 was uploaded from" in _audit(tracker, save_adapter(adapter, needed=3), **OFFLINE)
    assert len(_folders(place)) == 2


def test_advice_that_comes_in_a_later_process_has_the_files_of_its_audit(
    tracker: Server, run: Run, batch: MakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit is read back from the directory that it was put into."""
    _python(tracker, tmp_path, "-c", USERS, "ends", **OFFLINE)
    for key, value in tracker.env(tmp_path).items():
        monkeypatch.setenv(key, value)
    audit = {"event": "metrics", "kind": "lora_audit", "step": 1, "metrics": {"adapter": {"fingerprint": "f"}}}
    advice = {"event": "recommendation", "step": 1, "recommendations": [], "verdict": "ok", "adapter": "f"}
    for lines in (batch(audit), batch(advice, first=2)):
        sink = WandbSink(run="me/sft/u1", mode="offline")
        sink.open(run)
        sink.deliver(lines)
        sink.close(None, 5)
    document = json.loads((_folders(tmp_path)[-1] / "files" / "gradience" / "audit.json").read_text())
    assert (document["adapter"], document["advice"]["verdict"]) == ({"fingerprint": "f"}, "ok")


def test_a_run_without_an_end_gets_one_beside_it(tracker: Server, adapter: Path) -> None:
    """It may go on: what it says later would be replaced by what we know of it now."""
    place = adapter.parents[1]
    with pytest.raises(AssertionError):
        _python(tracker, place, "-c", USERS, "dies", **OFFLINE)
    said = _audit(tracker, adapter, "--strict", **OFFLINE)
    assert "W&B run me/sft/u1 is not over" in said
    _sync(tracker, *_folders(place))
    (ours,) = [run for run in tracker.runs.values() if run.id != "u1"]
    assert (ours.project, ours.group, ours.job_type) == ("sft", "tries", "gradience-audit")
    assert ours.settings["gradience"]["of_run"] == "me/sft/u1"
    assert tracker.runs["u1"].tags == ["mine"]


def test_a_run_of_ours_receives_the_audit_of_its_journal(tracker: Server, adapter: Path) -> None:
    """Recorded and audited offline, by one command each; both are on one run in the end."""
    place = adapter.parents[1]
    with TelemetryWriter(place / "out" / "run.jsonl", "r1") as writer:
        writer.run_start({"optimizer": {"lr": 1e-3}})
        for step in range(1, 31):
            writer.train_step(step, loss=1.0 / step)
    to = ("-m", "gradience", "sync", "out/run.jsonl", "--to", SINK)
    _python(tracker, place, *to, "--project", "sft", "--entity", "me", **OFFLINE)
    said = _audit(tracker, adapter, "--strict", "--project", "sft", "--entity", "me", **OFFLINE)
    assert f"{SINK}: run r1" in said
    _sync(tracker, *_folders(place))
    (run,) = tracker.runs.values()
    assert (run.path, run.job_type) == ("me/sft/r1", None)
    assert {row["_step"]: row["train/loss"] for row in run.history if "train/loss" in row}[2] == 1.0
    assert run.summary["lora_audit/utilization_mean"] > 0
    assert "gradience:review" in run.tags
