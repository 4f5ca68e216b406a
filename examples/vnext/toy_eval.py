"""Evaluate an adapter of the toy run on sentences that nobody has trained on: what a command for `gradience verify` is.

    python examples/vnext/toy_eval.py --adapter runs/toy_run/peft

prints one JSON object: accuracy, loss, the number of sentences, and for each whether the answer was right. With the
last, two adapters are compared sentence by sentence, which tells much smaller differences from chance.
"""

import argparse
import json
import warnings
from pathlib import Path

import peft
import torch
import transformers
from torch.nn import functional
from toy_lora_run import ANSWERS, sentences

SENTENCES, SEED = 4000, 1000  # no seed of a training below 998 draws these


def main() -> None:
    """Load, answer, print."""
    parser = argparse.ArgumentParser(description="Held-out accuracy of a toy adapter, as JSON.")
    parser.add_argument("--adapter", type=Path, required=True, help="folder of the adapter; its base lies beside it")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    base = transformers.LlamaForCausalLM.from_pretrained(options.adapter.resolve().parent / "base")
    print(json.dumps(evaluate(peft.PeftModel.from_pretrained(base, str(options.adapter)).eval())))


@torch.no_grad()
def evaluate(model: torch.nn.Module) -> dict[str, object]:
    """The answers to all sentences."""
    data = sentences(SENTENCES, SEED)
    logits = model(input_ids=data.words).logits[:, -1, ANSWERS]
    correct = (logits.argmax(-1) == data.labels).int().tolist()
    loss = functional.cross_entropy(logits, data.labels).item()
    return {"accuracy": sum(correct) / len(correct), "loss": loss, "n": len(correct), "correct": correct}


if __name__ == "__main__":
    main()
