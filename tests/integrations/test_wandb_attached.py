"""Gradience in a process where the user's own `wandb.init` is live: offline, read back from W&B's files."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import pytest
from gradience_wandb import panels

from gradience.errors import TargetGoneError
from gradience.mirror.sink import Batch, Run
from tests.integrations import wandb_files

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow

SINK: Final = "gradience_wandb.sink:WandbSink"
SaveAdapter = Callable[..., Path]
WAYS: Final = ("explicit", "auto", "trainer")

# Three loops of the user's, with a recorder in each, and an audit before the end, as in a notebook.
SCRIPT: Final = f"""
import os, sys, wandb
from gradience.cli.main import main
from gradience.mirror.live import recording
from gradience.vnext.telemetry import TelemetryWriter

recording.TERMS = recording.Terms(poll_s=0.01)

def train(way, adapter):
    os.makedirs(way)
    config = {{"lr": 1, "report_to": ["wandb"] if way == "trainer" else []}}
    run = wandb.init(project="sft", id=way, dir=way, tags=["mine"], notes="by hand", config=config)
    if way == "trainer":
        wandb.define_metric("train/global_step")
        wandb.define_metric("*", step_metric="train/global_step", step_sync=True)
    journal = f"{{way}}/run.jsonl"
    with TelemetryWriter(journal, "r", sinks=["{SINK}"], host="thread") as writer:
        for step in range(0, 300, 10):
            log(run, way, step, **{{"train/loss": step}})
            for between in range(step, step + 10):
                writer.train_step(between, loss=0.5)
            log(run, way, step, late=step)
    try:
        main(["audit", "--peft-dir", adapter, "--telemetry", journal, "--log-to", "{SINK}"])
    except SystemExit as end:
        assert not end.code
    assert wandb.run is run
    run.finish()

def log(run, way, step, **values):
    if way == "explicit":
        run.log(values, step=step)
    elif way == "auto":
        run.log(values)
    else:
        run.log({{**values, "train/global_step": step}})

for way in sys.argv[2:]:
    train(way, sys.argv[1])
"""


class Trained(msgspec.Struct, frozen=True):
    """Where all of it has happened, and what was said meanwhile."""

    place: Path
    said: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, save_adapter: SaveAdapter) -> Trained:
    """The script's three runs."""
    place = tmp_path_factory.mktemp("attached")
    save_adapter(place / "out" / "checkpoint-300")
    environ = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    own = {"HOME": str(place), "WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, "-c", SCRIPT, "out/checkpoint-300", *WAYS]
    done = subprocess.run(command, cwd=place, env=environ | own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Trained(place, done.stderr)


@pytest.mark.parametrize("way", WAYS)
def test_none_of_the_users_rows_is_dropped(trained: Trained, way: str) -> None:
    """Whether they name their steps or not; ours ride on theirs, or are rows of their own beside the Trainer's."""
    run = wandb_files.read(trained.place / way)
    steps = list(range(0, 300, 10))
    rows = [row for step in sorted(run.rows) for row in run.rows[step]]
    assert [row["train/loss"] for row in rows if "train/loss" in row] == steps
    assert [row["late"] for row in rows if "late" in row] == steps
    assert run.values("gradience/train/loss")
    if way == "explicit":
        assert sorted(run.rows) == steps
    if way == "trainer":
        assert len(run.values("gradience/train/loss")) == 300


def test_the_dashboard_finds_our_curves_there(trained: Trained) -> None:
    """Its patterns know both places: the training's curves beside the user's own, and an audit's as ever."""
    run = wandb_files.read(trained.place / "trainer")
    written = {key for rows in run.rows.values() for row in rows for key in row}
    found = {
        section.name: {key for panel in section.panels for key in written if re.search(panel.pattern or "^$", key)}
        for section in panels.SECTIONS
    }
    assert {"train/loss", "gradience/train/loss"} <= found["Training"]
    assert {"lora_audit/rank_waste", "lora_audit/attn/rank_waste"} <= found["Rank use"]
    assert {"lora_audit/delta_fro_norm", "lora_audit/attn/energy_share"} <= found["Adapter spectrum"]


@pytest.mark.parametrize("way", WAYS)
def test_the_users_run_receives_the_audit(trained: Trained, way: str) -> None:
    """From this process, since no other can reach it; what a person wrote stays, and the run is theirs to finish."""
    run = wandb_files.read(trained.place / way)
    assert (run.tags[0], run.notes, run.config["lr"], run.exits) == ("mine", "by hand", 1, [0])
    assert {"gradience:review", "gradience:over_provisioned"} <= set(run.tags)
    assert run.summary["lora_audit/utilization_mean"] > 0
    assert run.axes["gradience/train/loss"] == "gradience/step"
    assert list((trained.place / way).glob("wandb/*/files/gradience/audit.json"))
    assert f"{SINK}: run {way}" in trained.said


def test_a_run_that_was_finished_meanwhile_receives_nothing(
    run: Run, batch: Callable[..., Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook, say, where the next one may be live by now: neither is touched."""
    from gradience_wandb.attached import Attached

    live: Any = SimpleNamespace(id="u1", offline=True, disabled=False, summary={}, tags=(), notes="")
    live.config = SimpleNamespace(as_dict=dict)
    monkeypatch.setattr("wandb.run", live)
    sink = Attached(live, run, ())
    for now in (None, SimpleNamespace(id="u2", disabled=False)):
        monkeypatch.setattr("wandb.run", now)
        with pytest.raises(TargetGoneError, match="W&B run u1 was finished in this process"):
            sink.deliver(batch({"event": "train_step", "step": 1, "loss": 1.0}))
