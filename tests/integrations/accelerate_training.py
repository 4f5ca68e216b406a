"""A tiny loop of accelerate and PEFT, recorded by one argument."""

import os
from pathlib import Path
from typing import Any

import peft
import torch
from accelerate import Accelerator
from gradience_accelerate import GradienceTracker

from tests.integrations.peft_adapters import llama


def train(folder: str | Path, how: str, *trackers: str, **options: Any) -> Path:
    """Train 6 steps, saving none: a loop that goes on does so from step 4 of the one before; the journal."""
    journal = Path(folder) / "run.jsonl"
    journal.parent.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model = peft.get_peft_model(llama(), peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]))
    tracker = GradienceTracker(journal, model=model, resume=how == "resume", **options)
    accelerator = Accelerator(cpu=True, log_with=[*trackers, tracker])
    accelerator.init_trackers("tiny", config={"learning_rate": 3e-4, "batch_size": 2})
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    model, optimizer = accelerator.prepare(model, optimizer)
    for step in range(5 if how == "resume" else 1, 7):
        if step == 5 and how == "interrupt":
            raise KeyboardInterrupt
        if step == 5 and how == "kill":
            os.kill(os.getpid(), 9)
        batch = torch.full((2, 4), step)
        loss = model(input_ids=batch, labels=batch).loss
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        accelerator.log({"train_loss": loss, "learning_rate": 3e-4, "tokens": 8 * step}, step=step)
        if step % 3 == 0:
            accelerator.log({"val/loss": loss.item(), "val/acc": 0.5}, step=step)
    accelerator.end_training()
    return journal
