"""Runs of others as journals: what a Trainer, MLflow and W&B really keep, there and back."""

import json
import math
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")
pytest.importorskip("wandb")

from gradience_mlflow import MLflowHistories, MLflowSink
from gradience_wandb import WandbHistories

from gradience.errors import InputError
from gradience.history import journal, trainer
from gradience.history.history import History
from gradience.mirror.sync import sync
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Eval, Metrics, TrainStep

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the trackers' own


def recorded(path: Path) -> Path:
    """A run of ours."""
    with TelemetryWriter(path, "run-1") as writer:
        writer.run_start({"model_name": "m", "optimizer": {"lr": 2e-4}, "lora": {"r": 8, "alpha": 16}})
        for step in range(1, 31):
            writer.train_step(step, loss=2.0 / step, lr=2e-4, grad_norm=1.0, tokens=step * 10)
            if step % 10 == 0:
                writer.eval(step, split="test", metrics={"loss": 1.0 / step, "accuracy": 0.9})
        writer.metrics(30, kind="lora_audit", metrics={"rank_waste": 0.5, "attn": {"k": 2}})
    return path


def told(path: Path) -> list[tuple[Any, ...]]:
    """Numbers, steps and times of a journal, to the millisecond, in the order of time."""
    found: list[tuple[Any, ...]] = []
    for record in TelemetryReader(path):
        event, ts = record.event, round(record.event.ts * 1000)
        if isinstance(event, TrainStep):
            found.append((ts, "train", event.step, event.loss, event.lr, event.grad_norm, record.extras))
        elif isinstance(event, Eval):
            found.append((ts, event.split, event.step, event.metrics))
        elif isinstance(event, Metrics):
            found.append((ts, event.kind, event.step, dict(_flat(event.metrics))))
    return sorted(found, key=repr)


def _flat(tree: Any, above: str = "") -> Iterable[tuple[str, float]]:
    for key, value in tree.items():
        yield from _flat(value, f"{above}{key}/") if isinstance(value, dict) else [(f"{above}{key}", float(value))]


def imported(history: History, path: Path) -> Path:
    """The journal of a history."""
    journal.write(history, path)
    assert TelemetryReader(path).validate() == []
    return path


def test_a_run_of_ours_comes_back_from_mlflow_as_it_was(tmp_path: Path, store_uri: str) -> None:
    """Numbers, steps, times, configuration, end and id."""
    source = recorded(tmp_path / "run.jsonl")
    sync(source, MLflowSink(tracking_uri=store_uri))
    from mlflow import MlflowClient

    (run,) = MlflowClient(store_uri).search_runs(["0", "1"])
    history = MLflowHistories().read(run.info.run_id, tracking_uri=store_uri, progress=None)
    back = imported(history, tmp_path / "back.jsonl")
    assert told(back) == told(source)
    before, after = (TelemetryReader(path).summarize() for path in (source, back))
    assert (after.run_id, after.status, after.config) == (before.run_id, "ok", before.config)
    assert TelemetryReader(back).seal() is not None


def test_a_run_of_transformers_in_mlflow_is_read(tmp_path: Path, store_uri: str) -> None:
    """Under the names that its callback writes; speeds are left out, and that is said; the same run has the same id."""
    from mlflow import MlflowClient

    client = MlflowClient(store_uri)
    run = client.create_run("0", run_name="sft")
    client.log_param(run.info.run_id, "learning_rate", "0.0002")
    client.log_param(run.info.run_id, "max_steps", "3")
    for step in range(1, 4):
        for name, value in {"loss": 3.0 / step, "learning_rate": 2e-4, "grad_norm": 1.0, "epoch": step / 3}.items():
            client.log_metric(run.info.run_id, name, value, timestamp=1_700_000_000_000 + step, step=step)
    for name, value in {"eval_loss": 0.5, "eval_runtime": 1.0}.items():
        client.log_metric(run.info.run_id, name, value, timestamp=1_700_000_000_009, step=3)
    client.set_terminated(run.info.run_id, "FAILED")
    history = MLflowHistories().read(run.info.run_id, tracking_uri=store_uri, progress=None)
    assert history.notes == ("left out, as they are about the machine: eval_runtime",)
    seen = TelemetryReader(imported(history, tmp_path / "run.jsonl")).summarize()
    assert (seen.counts["train_step"], seen.status, seen.train_loss, seen.lr) == (3, "error", 1.0, 2e-4)
    assert seen.evals["eval"].loss == 0.5
    assert seen.config is not None
    assert (seen.config.optimizer.lr, seen.config.training.max_steps) == (2e-4, 3)
    assert MLflowHistories().read(run.info.run_id, tracking_uri=store_uri, progress=None).id == seen.run_id


def test_a_name_goes_along(tmp_path: Path, store_uri: str) -> None:
    """To the run that a sync makes; parameters with dots and a deletion are not lost on the way."""
    from mlflow import MlflowClient

    client = MlflowClient(store_uri)
    run = client.create_run("0", run_name="my name")
    for name in ("a.b", "a", "c.d"):
        client.log_param(run.info.run_id, name, f"value of {name}")
    client.log_metric(run.info.run_id, "loss", 1.0, step=1)
    client.delete_run(run.info.run_id)
    history = MLflowHistories().read(run.info.run_id, tracking_uri=store_uri, progress=None)
    assert history.notes == ("MLflow has it as deleted",)
    path = imported(history, tmp_path / "run.jsonl")
    config = json.loads(path.read_text().splitlines()[0])["config"]
    assert config["training"]["extras"] == {name: f"value of {name}" for name in ("a", "a.b", "c.d")}
    sync(path, MLflowSink(tracking_uri=store_uri))
    (there,) = client.search_runs(["0", "1"])
    assert there.info.run_name == "my name"


def test_a_run_that_mlflow_does_not_have_is_one_line(store_uri: str) -> None:
    """With what to check."""
    with pytest.raises(InputError, match="cannot import mlflow:0123") as caught:
        MLflowHistories().read("0123", tracking_uri=store_uri, progress=None)
    assert "\n" not in str(caught.value)


SCRIPT = """
import os, sys, wandb
run = wandb.init(project="sft", name="mine", config={"learning_rate": 2e-4, "max_steps": 20},
                 settings=wandb.Settings(x_transaction_log_flush_interval=0.02))
for step in range(1, 21):
    row = {"train/loss": 2.0 / step, "train/learning_rate": 2e-4, "train/global_step": step}
    if step % 10 == 0:
        row |= {"eval/loss": 1.0 / step, "eval/runtime": 3.0}
    if step == 9:
        row["train/global_step"] = float("inf")
    if step == 7:
        row["train/loss"] = float("nan")
    run.log(row)
if sys.argv[1] == "killed":
    import time; time.sleep(2); os.kill(os.getpid(), 9)
run.finish()
"""


@pytest.mark.parametrize("end", ["finished", "killed"])
def test_an_offline_run_of_wandb_is_read(tmp_path: Path, wandb_home: Path, end: str) -> None:
    """From its own file, the one of a killed run too, which tells no end; NaN stays NaN."""
    subprocess.run([sys.executable, "-c", SCRIPT, end], check=False, cwd=tmp_path, capture_output=True, timeout=120)
    (folder,) = wandb_home.rglob("offline-run-*")
    history = WandbHistories().read(str(folder), tracking_uri=None, progress=None)
    path = imported(history, tmp_path / "run.jsonl")
    seen = TelemetryReader(path).summarize()
    assert seen.ended == (end == "finished")
    steps = [record.event for record in TelemetryReader(path) if isinstance(record.event, TrainStep)]
    assert steps[0].step == 1
    assert steps[-1].step == (20 if end == "finished" else steps[-1].step)
    assert [step.step for step in steps if step.loss is not None and math.isnan(step.loss)] == [7]
    if end == "finished":
        assert (len(steps), seen.evals["eval"].loss, seen.status) == (20, 0.05, "ok")
    assert seen.config is not None
    assert seen.config.optimizer.lr == 2e-4


def test_a_trainers_directory_is_read_with_its_settings(tmp_path: Path) -> None:
    """The state's numbers are those of the log; learning rate and rank come from the files beside it."""
    transformers = pytest.importorskip("transformers")
    from tests.integrations.peft_adapters import llama

    model = llama()
    data = [{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}] * 8
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=4, logging_steps=1, learning_rate=3e-4, report_to=[], save_steps=4,
        eval_strategy="steps", eval_steps=2, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    done = transformers.Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data)
    done.train()
    path = imported(trainer.read(tmp_path / "out"), tmp_path / "run.jsonl")
    logged = [entry for entry in done.state.log_history if "loss" in entry]
    steps = [record.event for record in TelemetryReader(path) if isinstance(record.event, TrainStep)]
    assert [(step.step, step.loss) for step in steps] == [(entry["step"], entry["loss"]) for entry in logged]
    seen = TelemetryReader(path).summarize()
    assert seen.config is not None
    assert (seen.config.optimizer.lr, seen.config.training.max_steps) == (3e-4, 4)
    assert seen.evals["eval"].loss is not None
    assert json.loads(path.read_text().splitlines()[0])["meta"]["ts_estimated"] is True
