"""A complete LoRA fine-tune in half a minute on a laptop, recorded by Gradience. Offline: no download, no account.

The task is SST-2 in miniature: sentences over an invented vocabulary in which some words are kind and some unkind. A
sentence opens with "it is true that" or "it is untrue that", and the model has to say whether, all in all, it is kind.
A tiny Llama first reads unlabelled sentences, as a base model does; then its weights are frozen and a LoRA adapter
alone learns to answer, from 50 % (chance) to about 99 %. The adapter's rank is larger than this task needs, on purpose:
`gradience audit` has something true to say about it.

    python examples/vnext/toy_lora_run.py --out runs/toy_run --device cpu

writes `run.jsonl` (the telemetry), `peft/` (the adapter), `base/` (the frozen model, so that the adapter can be loaded
again) and `training/training_args.json`. Every call is a new run: its telemetry is appended to `run.jsonl` under a new
run id, and the adapter is replaced.
"""

import argparse
import json
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import peft
import torch
import transformers
from torch.nn import functional

from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.types import (
    ConfigSnapshot,
    LoRAConfigSnapshot,
    OptimizerConfigSnapshot,
    TaskProfile,
    TrainingConfigSnapshot,
)

# The vocabulary: three marks, then unkind words, kind words and words that are neither, each from its name on.
ASK, TRUE, UNTRUE, UNKIND, KIND, NEUTRAL, VOCABULARY = 0, 1, 2, 3, 27, 51, 99
ANSWERS = [UNKIND, KIND]  # one word of either side stands for it, as "terrible" and "great" do in prompts for SST-2
LENGTH = 15  # words in a sentence

LORA = peft.LoraConfig(
    r=16,
    lora_alpha=32,
    lora_dropout=0.0,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    task_type="CAUSAL_LM",
)
BATCH_SIZE = 32
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
WARMUP_SHARE = 0.1
MAX_GRAD_NORM = 1.0
EVAL_EVERY = 50


class Sentences(NamedTuple):
    """Labelled sentences: `words` is (n, LENGTH + 2) token ids, ending in ASK, `labels` is (n,) of 0 and 1."""

    words: torch.Tensor
    labels: torch.Tensor


def sentences(n: int, seed: int) -> Sentences:
    """Draw `n` sentences and drop those without a majority; the label is 1 where the sentence as a whole is kind."""
    generator = torch.Generator().manual_seed(seed)

    def draw(top: int, *shape: int) -> torch.Tensor:
        return torch.randint(top, shape, generator=generator)

    mood, untrue = draw(2, n, 1), draw(2, n, 1)
    kind = mood ^ (draw(5, n, LENGTH) == 0)  # one word in five is of the other side
    feeling = draw(2, n, LENGTH)  # half of the words are neutral
    words = torch.where(
        feeling == 1, torch.where(kind == 1, KIND, UNKIND) + draw(24, n, LENGTH), NEUTRAL + draw(48, n, LENGTH)
    )
    majority = (feeling * (2 * kind - 1)).sum(1)
    labels = (majority > 0).long() ^ untrue[:, 0]
    words = torch.cat([TRUE + untrue, words, torch.full((n, 1), ASK)], dim=1)
    return Sentences(words[majority != 0], labels[majority != 0])


def pretrain(path: Path, *, seed: int, device: torch.device, steps: int = 300) -> transformers.PreTrainedModel:
    """A tiny Llama that has read unlabelled sentences, saved to `path` and loaded from there like any other base."""
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = transformers.LlamaForCausalLM(config)
    read(model, sentences(64 * steps, seed).words[:, :-1], device)
    model.save_pretrained(path)
    base: transformers.PreTrainedModel = transformers.LlamaForCausalLM.from_pretrained(path)
    return base


def read(model: torch.nn.Module, text: torch.Tensor, device: torch.device) -> None:
    """Plain language modelling, one pass over `text`."""
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for start in range(0, len(text), 64):
        words = text[start : start + 64].to(device)
        loss = model(input_ids=words, labels=words).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def answer(model: torch.nn.Module, data: Sentences, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy of the answer after ASK, and the share of right answers."""
    labels = data.labels.to(device)
    logits = model(input_ids=data.words.to(device)).logits[:, -1, ANSWERS]
    return functional.cross_entropy(logits, labels), (logits.argmax(-1) == labels).float().mean()


@torch.no_grad()
def evaluate(model: torch.nn.Module, data: Sentences, device: torch.device) -> dict[str, float]:
    """Loss, perplexity and accuracy of the answers."""
    model.eval()
    loss, accuracy = answer(model, data, device)
    model.train()
    return {"loss": loss.item(), "ppl": math.exp(loss.item()), "accuracy": accuracy.item(), "n": len(data.labels)}


def batches(data: Sentences, steps: int, seed: int) -> Iterator[tuple[int, Sentences]]:
    """Step numbers from 1, each with a random batch."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        chosen = torch.randint(len(data.labels), (BATCH_SIZE,), generator=generator)
        yield step, Sentences(data.words[chosen], data.labels[chosen])


def warmup_then_linear(steps: int) -> Callable[[int], float]:
    """The factor on the learning rate at each step: up over the first tenth, then down to zero."""
    warmup = max(1, int(steps * WARMUP_SHARE))
    return lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))


def train(
    model: torch.nn.Module,
    splits: dict[str, Sentences],
    telemetry: TelemetryWriter,
    *,
    steps: int,
    seed: int,
) -> None:
    """An ordinary training loop; the calls on `telemetry` are all that Gradience needs."""
    device = next(model.parameters()).device
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_linear(steps))
    for step, batch in batches(splits["train"], steps, seed):
        loss, _ = answer(model, batch, device)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = torch.nn.utils.clip_grad_norm_(trainable, MAX_GRAD_NORM)
        optimizer.step()
        telemetry.train_step(step, loss=loss, lr=schedule.get_last_lr()[0], grad_norm=grad_norm)
        schedule.step()
        if step % EVAL_EVERY == 0 or step == steps:
            record_evals(model, splits, telemetry, step, device)


def record_evals(
    model: torch.nn.Module, splits: dict[str, Sentences], telemetry: TelemetryWriter, step: int, device: torch.device
) -> None:
    """Evaluate every split, into the telemetry and on screen."""
    measured = {split: evaluate(model, data, device) for split, data in splits.items()}
    for split, metrics in measured.items():
        telemetry.eval(step, split=split, metrics=metrics)
    print(f"step {step:4d}   " + "   ".join(_line(split, metrics) for split, metrics in measured.items()))


def _line(split: str, metrics: dict[str, float]) -> str:
    return f"{split} loss {metrics['loss']:.3f} accuracy {metrics['accuracy']:.3f}"


def config_snapshot(steps: int, seed: int) -> ConfigSnapshot:
    """What this run is meant to do, for the first line of its telemetry."""
    return ConfigSnapshot(
        model_name="toy-llama",
        dataset_name="toy-sentiment",
        task_profile=TaskProfile.EASY_CLASSIFICATION,
        optimizer=OptimizerConfigSnapshot(name="adamw", lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        lora=LoRAConfigSnapshot(
            r=LORA.r,
            alpha=LORA.lora_alpha,
            target_modules=sorted(LORA.target_modules or []),
            dropout=LORA.lora_dropout,
            bias=LORA.bias,
        ),
        training=TrainingConfigSnapshot(
            seed=seed, batch_size=BATCH_SIZE, gradient_accumulation=1, max_steps=steps, dtype="float32"
        ),
    )


def write_training_args(path: Path, steps: int, seed: int) -> None:
    """Leave the settings where `gradience check --training-dir` looks, under the Trainer's names for them."""
    path.mkdir(parents=True, exist_ok=True)
    arguments = {
        "output_dir": str(path),
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "lr_scheduler_type": "linear",
        "warmup_ratio": WARMUP_SHARE,
        "max_grad_norm": MAX_GRAD_NORM,
        "per_device_train_batch_size": BATCH_SIZE,
        "gradient_accumulation_steps": 1,
        "max_steps": steps,
        "eval_strategy": "steps",
        "eval_steps": EVAL_EVERY,
        "optim": "adamw_torch",
        "seed": seed,
    }
    (path / "training_args.json").write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Pre-train the base, fine-tune the adapter under the recorder, save what the mechanic reads."""
    options = parse_options()
    out, seed, device = Path(options.out), options.seed, torch.device(options.device)
    # PEFT asks transformers for an attribute under its old name; nothing a reader of this example could change.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)  # at this size, more threads only wait for each other
    torch.manual_seed(seed)
    write_training_args(out / "training", options.steps, seed)
    print("reading unlabelled sentences (the base model) ...")
    model = peft.get_peft_model(pretrain(out / "base", seed=seed, device=device), LORA).to(device)
    splits = {"train": sentences(2000, seed + 1), "test": sentences(500, seed + 2)}
    print(f"fine-tuning a rank-{LORA.r} adapter for {options.steps} steps on {device} ...")
    # Training starts from scratch every time, so that an interrupted run is never continued: resume=False.
    with TelemetryWriter(out / "run.jsonl", resume=False, allow_text=options.telemetry_allow_text) as telemetry:
        telemetry.run_start(config_snapshot(options.steps, seed), meta=meta(out, device))
        record_evals(model, splits, telemetry, 0, device)
        train(model, splits, telemetry, steps=options.steps, seed=seed)
        model.save_pretrained(str(out / "peft"))
    print(f"telemetry: {out / 'run.jsonl'}\nadapter:   {out / 'peft'}")


def meta(out: Path, device: torch.device) -> dict[str, Any]:
    """Where and with what the run is made; `task` is long, hence recorded only with --telemetry-allow-text."""
    return {
        "experiment": "toy",
        "output_dir": str(out),
        "device": str(device),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "task": (__doc__ or "").split("\n\n")[1],
    }


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="A tiny LoRA fine-tune, recorded by Gradience. Offline.")
    parser.add_argument("--out", required=True, help="folder for telemetry, adapter and settings")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--steps", type=int, default=800, help="training steps of the adapter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--telemetry-allow-text", action="store_true", help="record strings over 256 characters as they are"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
