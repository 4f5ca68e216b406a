"""Gradience in a real Trainer: one line, the truth about every end, and the same numbers in the trackers."""

import json
from pathlib import Path
from typing import Any

import pytest
from gradience_transformers import entries

from gradience.errors import GradienceError
from gradience.recording import models
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Metrics, TrainStep
from tests.integrations import wandb_files
from tests.integrations.trainings import evaluations, run, steps

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")  # the tools' own
DATA = [{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}] * 8
SCRIPT = "import sys; from tests.integrations import transformers_training as tt; tt.train(*sys.argv[1:])"


def train(out: Path, how: str, **options: Any) -> Path:
    """The journal of a training in this process."""
    from tests.integrations import transformers_training

    return transformers_training.train(out, how, **{"sinks": [], **options})


def logged(out: Path) -> list[dict[str, Any]]:
    """What the Trainer itself kept, in its last checkpoint."""
    history = json.loads((out / "checkpoint-8" / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "status"), [("error", "error"), ("interrupt", "aborted"), ("kill", None)])
def test_an_end_is_told_as_it_was_and_a_resume_goes_on(tmp_path: Path, how: str, status: str | None) -> None:
    """The Trainer says nothing to callbacks when it dies; a resumed run has every logged step once, as its state."""
    out = tmp_path / "out"
    seen = TelemetryReader(run(SCRIPT, out, how)).summarize()
    assert (seen.status if seen.ended else None, seen.last_step) == (status, 4)
    journal = train(out, "resume")
    again = TelemetryReader(journal).summarize()
    assert TelemetryReader(journal).validate() == []
    assert (again.run_id, again.status, again.starts) == (seen.run_id, "ok", 2)
    found = [(step.step, step.loss, step.lr, step.grad_norm) for step in steps(journal)]
    assert found == [(one["step"], one["loss"], one["learning_rate"], one["grad_norm"]) for one in logged(out)]
    assert evaluations(journal) == [(4, "easy"), (4, "hard"), (8, "easy"), (8, "hard")]


@pytest.mark.slow
def test_evaluations_before_and_after_the_training_belong_to_it(tmp_path: Path) -> None:
    """Many scripts measure first, and once more at the end; a training that begins anew is another run."""
    journal = train(tmp_path / "out", "evaluate")
    assert [step for step, _ in evaluations(journal)] == [0, 0, 4, 4, 8, 8, 8, 8]
    first = TelemetryReader(journal).summarize()
    assert first.config is not None
    assert (first.config.lora.r, first.config.optimizer.lr, first.config.training.max_steps) == (4, 3e-4, 8)
    told = json.loads(journal.read_text().splitlines()[0])["meta"]
    assert told["versions"].keys() >= {"gradience", "torch", "transformers", "peft"}
    assert told["parameters"]["trainable"] == 896
    train(tmp_path / "out", "whole")
    assert TelemetryReader(journal).summarize().run_id != first.run_id


@pytest.mark.slow
def test_mlflow_and_wandb_have_the_same_numbers(tmp_path: Path, store_uri: str, wandb_home: Path) -> None:
    """In runs of ours, of every step and every set; with what is measured after the training."""
    mlflow, _ = pytest.importorskip("mlflow"), pytest.importorskip("wandb")
    journal = train(tmp_path / "out", "evaluate", sinks=[{"type": "mlflow", "tracking_uri": store_uri}, "wandb"])
    wanted = [(step.step, step.loss) for step in steps(journal)]
    client = mlflow.MlflowClient(store_uri)
    (found,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert found.info.status == "FINISHED"
    points = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == wanted
    evaluated = client.get_metric_history(found.info.run_id, "eval/hard/loss")
    assert [point.step for point in evaluated] == [0, 4, 8, 8]
    assert [*wandb_files.read(wandb_home).values("train/loss").values()] == [loss for _, loss in wanted]


@pytest.mark.slow
def test_the_runs_of_the_trainers_own_callbacks_are_joined(tmp_path: Path, store_uri: str, wandb_home: Path) -> None:
    """Neither tracker has a second one; the one that is live in W&B gets our curves under `gradience/`."""
    mlflow, _ = pytest.importorskip("mlflow"), pytest.importorskip("wandb")
    given = {"GRADIENCE_SINKS": "mlflow,wandb", "MLFLOW_TRACKING_URI": store_uri}
    journal = run(SCRIPT, tmp_path / "out", "evaluate", "mlflow", "wandb", **given)
    client = mlflow.MlflowClient(store_uri)
    # To the end of a training MLflow's callback closes its run, and the evaluation after it begins another of its own.
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (ours,) = [one for one in runs if "gradience.run_id" in one.data.tags]
    assert "train_runtime" in ours.data.metrics
    assert ours.info.status == "FINISHED"
    points = client.get_metric_history(ours.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == [(step.step, step.loss) for step in steps(journal)]
    assert len(wandb_files.logs(wandb_home)) == 1
    assert wandb_files.read(wandb_home).summary["gradience/train/loss"] == steps(journal)[-1].loss


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "at"), [("save", [4, 8]), (3, [3, 6])])
def test_the_use_of_the_rank_is_a_series(tmp_path: Path, asked: str | int, at: list[int]) -> None:
    """Checkpoints, or the adapter as it is every few steps: audited beside the training, and done at its end."""
    journal = train(tmp_path / "out", "whole", audit=asked)
    found = [one.event for one in TelemetryReader(journal) if isinstance(one.event, Metrics)]
    assert [one.step for one in found if one.kind == "lora_audit"] == at
    assert TelemetryReader(journal).summarize().status == "ok"
    state = journal.with_name("run.jsonl.gradience")
    assert [path.name for path in state.iterdir() if path.is_dir()] == []


@pytest.mark.slow
def test_an_error_of_ours_ends_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once; a mistake in the options is found before anything is trained."""
    from gradience_transformers import GradienceCallback

    from tests.integrations.peft_adapters import llama

    (tmp_path / "run.jsonl").mkdir()
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=3, logging_steps=1, report_to=[], use_cpu=True, save_strategy="no"
    )
    trainer = transformers.Trainer(
        model=llama(), args=arguments, train_dataset=DATA, callbacks=[GradienceCallback(sinks=[])]
    )
    trainer.train()
    assert trainer.state.global_step == 3
    (said,) = [record for record in caplog.records if record.name == "gradience.recording"]
    assert "training goes on" in said.getMessage()


def test_a_mistake_in_the_options_is_found_at_once() -> None:
    """While a person is there to mend it."""
    from gradience_transformers import GradienceCallback

    with pytest.raises(GradienceError, match="mlflwo"):
        GradienceCallback(sinks=["mlflwo"])
    with pytest.raises(ValueError, match="audit is 0"):
        GradienceCallback(audit=0)
    with pytest.raises(ValueError, match="close_timeout_s"):
        GradienceCallback(sinks=["mlflow"], close_timeout_s=-1)


@pytest.mark.slow
def test_a_trainer_of_trl_is_one(tmp_path: Path, store_uri: str, wandb_home: Path) -> None:
    """With what it logs beside the loss, and the adapter that it makes itself; both trackers have the same numbers."""
    mlflow, _ = pytest.importorskip("mlflow"), pytest.importorskip("wandb")
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    import peft
    import tokenizers
    from gradience_transformers import GradienceCallback

    from tests.integrations.peft_adapters import llama

    end = "<eos>"
    known = {word: number for number, word in enumerate([end, "a", "b", "c", "d"])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, unk_token=end))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token=end, eos_token=end)
    data = datasets.Dataset.from_dict({"text": ["a b c d"] * 8})
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path), max_steps=4, logging_steps=1, report_to=[], use_cpu=True, disable_tqdm=True,
        eval_strategy="steps", eval_steps=2, save_strategy="no", bf16=False,
    )  # fmt: skip
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], task_type="CAUSAL_LM")
    trainer = trl.SFTTrainer(
        llama(), arguments, train_dataset=data, eval_dataset=data, processing_class=tokenizer, peft_config=lora,
        callbacks=[GradienceCallback(sinks=[{"type": "mlflow", "tracking_uri": store_uri}, "wandb"])],
    )  # fmt: skip
    trainer.train()
    reader = TelemetryReader(tmp_path / "run.jsonl")
    assert reader.validate() == []
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    found = [one.extras["mean_token_accuracy"] for one in reader if isinstance(one.event, TrainStep)]
    assert found == [entry["mean_token_accuracy"] for entry in logged]
    assert [step.loss for step in steps(tmp_path / "run.jsonl")] == [entry["loss"] for entry in logged]
    seen = reader.summarize()
    assert "mean_token_accuracy" in seen.evals["eval"].extras
    assert (seen.config and seen.config.lora.r) == 4
    client = mlflow.MlflowClient(store_uri)
    (run_of_ours,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    points = client.get_metric_history(run_of_ours.info.run_id, "train/mean_token_accuracy")
    assert [point.value for point in points] == found
    assert [*wandb_files.read(wandb_home).values("train/mean_token_accuracy").values()] == found


@pytest.mark.parametrize(
    ("logs", "found"),
    [
        (
            {"loss": 1.0, "grad_norm": 2.0, "learning_rate": 0.1, "epoch": 0.5, "mean_token_accuracy": 0.9},
            [("train_step", {"loss": 1.0, "grad_norm": 2.0, "lr": 0.1, "epoch": 0.5, "mean_token_accuracy": 0.9})],
        ),
        (
            {"eval_a_loss": 1.0, "eval_a_runtime": 3.0, "eval_a_samples_per_second": 4.0, "epoch": 1.0},
            [("eval", {"split": "a", "metrics": {"loss": 1.0}})],
        ),
        (
            {"train_runtime": 3.0, "train_loss": 0.5, "total_flos": 7.0, "epoch": 1.0},
            [
                (
                    "metrics",
                    {"kind": "training", "metrics": {"runtime": 3.0, "loss": 0.5, "total_flos": 7.0}},
                )
            ],
        ),
        ({"reward": 1.0, "epoch": 1.0}, [("metrics", {"kind": "logged", "metrics": {"reward": 1.0, "epoch": 1.0}})]),
        ({"epoch": 1.0, "note": "text"}, []),
    ],
)
def test_an_entry_of_the_log_is_its_events(logs: dict[str, Any], found: list[tuple[str, dict[str, Any]]]) -> None:
    """Steps, evaluations of each set, the summary of a training, and what somebody logged beside."""
    wanted = [{"event": event, "step": 7, **payload} for event, payload in found]
    assert list(entries.events(logs, 7)) == wanted


def test_quantisation_is_told() -> None:
    """As bitsandbytes and GPTQ put it into a model's configuration."""

    class Model:
        def __init__(self, **settings: Any) -> None:
            self.config = type("Config", (), {"quantization_config": settings})

    nf4 = Model(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype="bfloat16", quant_method="bitsandbytes"
    )
    assert models.quantized(nf4) == {"bits": 4, "scheme": "nf4", "compute_dtype": "bfloat16"}
    assert models.quantized(Model(bits=3, quant_method="gptq")) == {"bits": 3, "scheme": "gptq"}
    assert models.quantized(object()) == {}
