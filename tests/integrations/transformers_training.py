"""A tiny training with transformers' Trainer and PEFT, recorded by one line."""

import os
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from gradience_transformers import GradienceCallback

from tests.integrations.peft_adapters import llama

DATA = [{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}] * 8


class Interruption(transformers.TrainerCallback):
    """Leaves a training at its fifth step."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - a hook
        """By an exception, by Ctrl-C, or by no word at all."""
        if state.global_step == 5 and self.how == "error":
            raise RuntimeError("no more")
        if state.global_step == 5 and self.how == "interrupt":
            raise KeyboardInterrupt
        if state.global_step == 5 and self.how == "kill":
            os.kill(os.getpid(), 9)


def train(folder: str | Path, how: str, *report_to: str, **options: Any) -> Path:
    """Train 8 steps in a folder, or go on from its last checkpoint; evaluate before and after it, too; the journal."""
    torch.manual_seed(0)
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=8, logging_steps=1, learning_rate=3e-4, report_to=list(report_to),
        save_steps=4, eval_strategy="steps", eval_steps=4, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=peft.get_peft_model(llama(), lora), args=arguments, train_dataset=DATA,
        eval_dataset={"easy": DATA, "hard": DATA}, callbacks=[GradienceCallback(**options), Interruption(how)],
    )  # fmt: skip
    if how == "evaluate":
        trainer.evaluate()
    trainer.train(resume_from_checkpoint=how == "resume")
    if how == "evaluate":
        trainer.evaluate()
    return Path(folder) / "run.jsonl"
