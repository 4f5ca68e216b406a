"""Gradience in a real Trainer: one line, the truth about every end, and the same numbers in the trackers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gradience_transformers import described, entries

from gradience.errors import GradienceError
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Eval, Metrics, TrainStep
from tests.integrations import wandb_files

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")  # the tools' own
ROOT = Path(__file__).parents[2]
DATA = [{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}] * 8
SCRIPT = """
import json, os, sys
import peft, torch, transformers
from gradience_transformers import GradienceCallback
from tests.integrations.peft_adapters import llama

out, how, *report_to = sys.argv[1:]

class Interruption(transformers.TrainerCallback):
    def on_step_end(self, args, state, control, **given):
        if state.global_step == 5 and how == "error":
            raise RuntimeError("no more")
        if state.global_step == 5 and how == "interrupt":
            raise KeyboardInterrupt
        if state.global_step == 5 and how == "kill":
            os.kill(os.getpid(), 9)

torch.manual_seed(0)
lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
data = [{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}] * 8
arguments = transformers.TrainingArguments(
    output_dir=out, max_steps=8, logging_steps=1, learning_rate=3e-4, report_to=report_to, save_steps=4,
    eval_strategy="steps", eval_steps=4, use_cpu=True, disable_tqdm=True,
)
trainer = transformers.Trainer(
    model=peft.get_peft_model(llama(), lora), args=arguments, train_dataset=data,
    eval_dataset={"easy": data, "hard": data},
    callbacks=[GradienceCallback(audit=json.loads(os.environ.get("AUDIT", "null"))), Interruption()],
)
if how == "evaluate":
    trainer.evaluate()
trainer.train(resume_from_checkpoint=how == "resume")
if how == "evaluate":
    trainer.evaluate()
"""


def trained(out: Path, how: str, *report_to: str, **env: str) -> Path:
    """The journal of a training in a process of its own that ended in this way."""
    command = [sys.executable, "-c", SCRIPT, str(out), how, *report_to]
    path = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    found = subprocess.run(
        command,
        cwd=out.parent,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": path} | env,
    )
    assert (found.returncode == 0) == (how in ("resume", "evaluate", "whole")), found.stderr
    assert TelemetryReader(out / "run.jsonl").validate() == []
    return out / "run.jsonl"


def steps(journal: Path) -> list[TrainStep]:
    return [record.event for record in TelemetryReader(journal) if isinstance(record.event, TrainStep)]


def evaluations(journal: Path) -> list[tuple[int | None, str]]:
    return [(one.event.step, one.event.split) for one in TelemetryReader(journal) if isinstance(one.event, Eval)]


def logged(out: Path) -> list[dict[str, Any]]:
    """What the Trainer itself kept, in its last checkpoint."""
    history = json.loads((out / "checkpoint-8" / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "status"), [("error", "error"), ("interrupt", "aborted"), ("kill", None)])
def test_an_end_is_told_as_it_was_and_a_resume_goes_on(tmp_path: Path, how: str, status: str | None) -> None:
    """The Trainer says nothing to callbacks when it dies; a resumed run has every logged step once, as its state."""
    out = tmp_path / "out"
    seen = TelemetryReader(trained(out, how)).summarize()
    assert (seen.status if seen.ended else None, seen.last_step) == (status, 4)
    journal = trained(out, "resume")
    again = TelemetryReader(journal).summarize()
    assert (again.run_id, again.status, again.starts) == (seen.run_id, "ok", 2)
    found = [(step.step, step.loss, step.lr, step.grad_norm) for step in steps(journal)]
    assert found == [(one["step"], one["loss"], one["learning_rate"], one["grad_norm"]) for one in logged(out)]
    assert evaluations(journal) == [(4, "easy"), (4, "hard"), (8, "easy"), (8, "hard")]


@pytest.mark.slow
def test_evaluations_before_and_after_the_training_belong_to_it(tmp_path: Path) -> None:
    """Many scripts measure first, and once more at the end; a training that begins anew is another run."""
    journal = trained(tmp_path / "out", "evaluate")
    assert [step for step, _ in evaluations(journal)] == [0, 0, 4, 4, 8, 8, 8, 8]
    first = TelemetryReader(journal).summarize()
    assert first.config is not None
    assert (first.config.lora.r, first.config.optimizer.lr, first.config.training.max_steps) == (4, 3e-4, 8)
    told = json.loads(journal.read_text().splitlines()[0])["meta"]
    assert told["versions"].keys() >= {"gradience", "torch", "transformers", "peft"}
    assert told["parameters"]["trainable"] == 896
    trained(tmp_path / "out", "whole")
    assert TelemetryReader(journal).summarize().run_id != first.run_id


@pytest.mark.slow
@pytest.mark.parametrize("joined", [True, False])
def test_mlflow_has_one_run_with_the_same_numbers(tmp_path: Path, store_uri: str, *, joined: bool) -> None:
    """The run of the Trainer's own callback, where that is active, else one of ours; with what is measured later."""
    mlflow = pytest.importorskip("mlflow")
    report_to = ["mlflow"] if joined else []
    journal = trained(tmp_path / "out", "evaluate", *report_to, GRADIENCE_SINKS="mlflow", MLFLOW_TRACKING_URI=store_uri)
    client = mlflow.MlflowClient(store_uri)
    # To the end of a training MLflow's callback closes its run, and the evaluation after it begins another of its own.
    (run,) = [run for run in client.search_runs(["0", "1"]) if "gradience.run_id" in run.data.tags]
    assert ("train_runtime" in run.data.metrics) == joined
    assert run.info.status == "FINISHED"
    points = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == [(step.step, step.loss) for step in steps(journal)]
    evaluated = client.get_metric_history(run.info.run_id, "eval/hard/loss")
    assert [point.step for point in evaluated] == [0, 4, 8, 8]


@pytest.mark.slow
@pytest.mark.parametrize("joined", [True, False])
def test_wandb_has_one_run_with_the_same_numbers(tmp_path: Path, wandb_home: Path, *, joined: bool) -> None:
    """The one that the Trainer's own callback has live in the process gets our curves under `gradience/`."""
    pytest.importorskip("wandb")
    journal = trained(tmp_path / "out", "whole", *(["wandb"] if joined else []), GRADIENCE_SINKS="wandb")
    assert len(wandb_files.logs(wandb_home)) == 1
    found = wandb_files.read(wandb_home)
    name = "gradience/train/loss" if joined else "train/loss"
    assert found.summary[name] == steps(journal)[-1].loss
    if not joined:
        assert [*found.values(name).values()] == [step.loss for step in steps(journal)]


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "at"), [('"save"', [4, 8]), ("3", [3, 6])])
def test_the_use_of_the_rank_is_a_series(tmp_path: Path, asked: str, at: list[int]) -> None:
    """Checkpoints, or the adapter as it is every few steps: audited beside the training, and done at its end."""
    journal = trained(tmp_path / "out", "whole", AUDIT=asked)
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
def test_a_trainer_of_trl_is_one(tmp_path: Path) -> None:
    """With what it logs beside the loss, in training and in evaluation, and the adapter that it makes itself."""
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
        callbacks=[GradienceCallback(sinks=[])],
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
    assert described.quantized(nf4) == {"bits": 4, "scheme": "nf4", "compute_dtype": "bfloat16"}
    assert described.quantized(Model(bits=3, quant_method="gptq")) == {"bits": 3, "scheme": "gptq"}
    assert described.quantized(object()) == {}
