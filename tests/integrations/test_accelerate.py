"""Gradience in a loop of accelerate: one argument, the truth about every end, and the same numbers in the trackers."""

import json
from pathlib import Path

import pytest

from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import TrainStep
from tests.integrations import wandb_files
from tests.integrations.trainings import evaluations, run, steps

pytest.importorskip("accelerate")
pytest.importorskip("peft")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the tools' own
SCRIPT = "import sys; from tests.integrations import accelerate_training as at; at.train(*sys.argv[1:])"


def test_a_loop_is_recorded_as_it_logs(tmp_path: Path) -> None:
    """Steps with what stands beside the loss, evaluations by their set, settings and adapter in the first event."""
    from tests.integrations import accelerate_training

    journal = accelerate_training.train(tmp_path / "out", "whole", sinks=[])
    assert TelemetryReader(journal).validate() == []
    seen = TelemetryReader(journal).summarize()
    told = json.loads(journal.read_text().splitlines()[0])
    assert (seen.status, evaluations(journal)) == ("ok", [(3, "val"), (6, "val")])
    found = [
        (one.event.step, one.event.lr, one.extras)
        for one in TelemetryReader(journal)
        if isinstance(one.event, TrainStep)
    ]
    assert found == [(step, 3e-4, {"tokens": 8 * step}) for step in range(1, 7)]
    config = told["config"]
    assert (config["lora"]["r"], config["optimizer"]["lr"], config["training"]["batch_size"]) == (4, 3e-4, 2)
    assert told["meta"]["parameters"]["trainable"] == 896
    assert seen.evals["val"].accuracy == 0.5
    accelerate_training.train(tmp_path / "out", "whole", sinks=[])
    assert TelemetryReader(journal).summarize().run_id != seen.run_id


@pytest.mark.parametrize(("how", "status"), [("interrupt", "aborted"), ("kill", None)])
def test_an_end_is_told_as_it_was_and_a_resume_goes_on(tmp_path: Path, how: str, status: str | None) -> None:
    """A loop tells a tracker nothing when it dies: what ended the process ends the run."""
    from tests.integrations import accelerate_training

    seen = TelemetryReader(run(SCRIPT, tmp_path / "out", how)).summarize()
    assert (seen.status if seen.ended else None, seen.last_step) == (status, 4)
    journal = accelerate_training.train(tmp_path / "out", "resume", sinks=[])
    again = TelemetryReader(journal).summarize()
    assert (again.run_id, again.status, again.starts) == (seen.run_id, "ok", 2)
    assert [step.step for step in steps(journal)] == list(range(1, 7))


def test_the_trackers_have_the_same_numbers(tmp_path: Path, store_uri: str, wandb_home: Path) -> None:
    """In the run of accelerate's own MLflow tracker, and in a run of W&B that is ours."""
    mlflow, _ = pytest.importorskip("mlflow"), pytest.importorskip("wandb")
    given = {"GRADIENCE_SINKS": "mlflow,wandb", "MLFLOW_TRACKING_URI": store_uri}
    journal = run(SCRIPT, tmp_path / "out", "whole", "mlflow", **given)
    wanted = [(step.step, step.loss) for step in steps(journal)]
    client = mlflow.MlflowClient(store_uri)
    (found,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert found.data.metrics["val/loss"] == found.data.metrics["eval/val/loss"]
    points = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == wanted
    assert [*wandb_files.read(wandb_home).values("train/loss").values()] == [loss for _, loss in wanted]
