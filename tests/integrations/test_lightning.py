"""Gradience in Lightning's Trainer: one line, the truth about every end, and the same numbers in the trackers."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Metrics
from tests.integrations import wandb_files
from tests.integrations.trainings import evaluations, run, steps

pytest.importorskip("lightning")
pytest.importorskip("peft")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the tools' own
SCRIPT = "import sys; from tests.integrations import lightning_training as lt; lt.train(*sys.argv[1:])"
Train = Callable[..., Path]


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Train]:
    """A function that trains in `out` in this process, and hands back the journal."""
    from tests.integrations import lightning_training

    def trained(how: str, *loggers: str, out: str = "out", **options: Any) -> Path:
        return lightning_training.train(tmp_path / out, how, *loggers, **{"sinks": [], **options})

    interrupted = signal.getsignal(signal.SIGINT)
    yield trained
    signal.signal(signal.SIGINT, interrupted)  # which Lightning ignores from a Ctrl-C on


@pytest.mark.parametrize(
    ("how", "status", "raised"), [("error", "error", RuntimeError), ("interrupt", "aborted", SystemExit)]
)
def test_an_end_is_told_as_it_was(
    train: Train, how: str, status: str, raised: type[BaseException], tmp_path: Path
) -> None:
    """At once: Lightning tells a callback what has left the training."""
    with pytest.raises(raised):
        train(how)
    seen = TelemetryReader(tmp_path / "out" / "run.jsonl").summarize()
    assert (seen.status, seen.last_step) == (status, 5)


def test_a_killed_training_goes_on_in_the_same_run(train: Train, tmp_path: Path) -> None:
    """From its checkpoint, with every step once and each set of evaluations under its own name."""
    seen = TelemetryReader(run(SCRIPT, tmp_path / "out", "kill")).summarize()
    assert not seen.ended
    journal = train("resume")
    again = TelemetryReader(journal).summarize()
    assert (again.run_id, again.status, again.starts) == (seen.run_id, "ok", 2)
    assert TelemetryReader(journal).validate() == []
    assert [step.step for step in steps(journal)] == list(range(1, 9))
    assert sorted(evaluations(journal)) == [(4, "val_0"), (4, "val_1"), (8, "val_0"), (8, "val_1")]


def test_what_a_run_is_meant_to_do_is_told(train: Train) -> None:
    """Adapter, optimiser with its first learning rate, Trainer and hyperparameters; a test after it belongs to it."""
    journal = train("test")
    told = json.loads(journal.read_text().splitlines()[0])
    config = told["config"]
    assert (config["lora"]["r"], config["lora"]["target_modules"]) == (4, ["q_proj", "v_proj"])
    assert (config["optimizer"]["name"], config["optimizer"]["lr"]) == ("AdamW", 3e-4)
    assert (config["training"]["max_steps"], config["training"]["extras"]["note"]) == (8, "tiny")
    assert told["meta"]["parameters"]["trainable"] == 896
    assert told["meta"]["versions"].keys() >= {"lightning", "peft", "torch"}
    assert evaluations(journal)[-1] == (8, "test")
    assert TelemetryReader(journal).summarize().evals["test"].accuracy == 0.5
    assert [step.lr for step in steps(journal)][:2] == pytest.approx([1.4e-4, 1.8e-4])


def test_a_module_that_logs_nothing_has_its_losses_recorded(train: Train, tmp_path: Path) -> None:
    """As its training step returns them: the same numbers as where it logs them, and as Lightning's own logger has."""
    silent, logged = steps(train("silent", out="silent")), steps(train("whole", "csv", out="logged"))
    assert [step.loss for step in silent] == [step.loss for step in logged]
    rows = next((tmp_path / "logged").rglob("metrics.csv")).read_text().splitlines()
    place = rows[0].split(",").index("train_loss")
    assert [step.loss for step in logged] == [float(value) for row in rows[1:] if (value := row.split(",")[place])]


def test_mlflow_and_wandb_have_the_same_numbers(train: Train, store_uri: str, wandb_home: Path) -> None:
    """Of every step and every set, without a logger of Lightning's."""
    mlflow, _ = pytest.importorskip("mlflow"), pytest.importorskip("wandb")
    journal = train("whole", sinks=[{"type": "mlflow", "tracking_uri": store_uri}, "wandb"])
    wanted = [(step.step, step.loss) for step in steps(journal)]
    client = mlflow.MlflowClient(store_uri)
    (found,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert found.info.status == "FINISHED"
    points = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == wanted
    assert [point.step for point in client.get_metric_history(found.info.run_id, "eval/val_1/loss")] == [4, 8]
    assert [*wandb_files.read(wandb_home).values("train/loss").values()] == [loss for _, loss in wanted]


def test_the_runs_of_lightnings_own_loggers_are_joined(tmp_path: Path, store_uri: str, wandb_home: Path) -> None:
    """That of MLflow is no active run of the process, that of W&B is live in it: neither tracker has a second one."""
    mlflow, _ = pytest.importorskip("mlflow"), pytest.importorskip("wandb")
    given = {"GRADIENCE_SINKS": "mlflow,wandb", "MLFLOW_TRACKING_URI": store_uri}
    journal = run(SCRIPT, tmp_path / "out", "whole", "mlflow", "wandb", **given)
    last = steps(journal)[-1]
    client = mlflow.MlflowClient(store_uri)
    (found,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert found.data.metrics["train_loss"] == found.data.metrics["train/loss"] == last.loss
    assert wandb_files.logs(wandb_home) == []  # Lightning says where
    assert len(wandb_files.logs(tmp_path)) == 1
    assert wandb_files.read(tmp_path).summary["gradience/train/loss"] == last.loss


@pytest.mark.parametrize("asked", ["save", 4])
def test_the_use_of_the_rank_is_a_series(train: Train, asked: int | str) -> None:
    """With every checkpoint, or every few steps: a copy of the adapter, for Lightning's checkpoints hold none."""
    journal = train("whole", audit=asked)
    found = [one.event for one in TelemetryReader(journal) if isinstance(one.event, Metrics)]
    assert [one.step for one in found if one.kind == "lora_audit"] == [4, 8]
    assert TelemetryReader(journal).summarize().status == "ok"
