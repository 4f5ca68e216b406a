"""The training that these pipelines run: any of transformers' Trainer, here a tiny model that needs no download."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from gradience_transformers import GradienceCallback


def train(settings: Mapping[str, Any]) -> None:
    """Train an adapter as `settings` say; what is under `gradience` are the options of its callback.

    A training whose output directory has a checkpoint goes on from it, and so does the run that is recorded there.
    """
    torch.manual_seed(settings["training"].get("seed", 0))
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings["model"]))
    arguments = transformers.TrainingArguments(**settings["training"])
    trainer = transformers.Trainer(
        model=peft.get_peft_model(base, peft.LoraConfig(**settings["lora"])),
        args=arguments,
        train_dataset=_sentences(64, base.config.vocab_size),
        callbacks=[GradienceCallback(**settings.get("gradience") or {})],  # the one line
    )
    trainer.train(resume_from_checkpoint=any(Path(str(arguments.output_dir)).glob("checkpoint-*")))
    trainer.save_model()


def _sentences(count: int, words: int) -> list[dict[str, list[int]]]:
    """Sentences in which each word follows from the one before."""
    starts = [[(start + 7 * place) % words for place in range(16)] for start in range(count)]
    return [{"input_ids": words_of, "labels": words_of} for words_of in starts]
