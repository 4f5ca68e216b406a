"""Files of training tools, as people write them: which tool's it is, and what it leaves unsaid."""

from pathlib import Path
from typing import Any

import pytest

from gradience.settings import sources, tools
from gradience.vnext.types import ConfigSnapshot

AXOLOTL = """\
base_model: NousResearch/Llama-3.2-1B
datasets:
  - path: teknium/GPT4-LLM-Cleaned
    type: alpaca
val_set_size: 0.1
adapter: qlora
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
sequence_len: 2048
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 1
optimizer: adamw_8bit
lr_scheduler: cosine
learning_rate: 2e-4
bf16: auto
"""
LLAMA_FACTORY = """\
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
quantization_bit: 4
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
dataset: identity,alpaca_en_demo
template: llama3
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
"""
TRL = """\
model_name_or_path: Qwen/Qwen2.5-0.5B
dataset_name: trl-lib/Capybara
use_peft: true
learning_rate: 2.0e-4
num_train_epochs: 1
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
eval_strategy: steps
"""
MLX = """\
{"model": "mlx-community/Llama-3.2-1B", "fine_tune_type": "lora", "num_layers": 16, "iters": 600, "batch_size": 4,
 "learning_rate": 1e-05, "lora_parameters": {"rank": 8, "dropout": 0.0, "scale": 20.0, "keys": ["self_attn.q_proj"]}}
"""
V4 = (
    '{"learning_rate": "5e-5", "evaluation_strategy": "steps", "warmup_ratio": 0.03, "max_steps": -1, "optim": "adamw"}'
)


def read(folder: Path, text: str, name: str = "config.yaml") -> ConfigSnapshot:
    """The settings of a file."""
    (folder / name).write_text(text, encoding="utf-8")
    return ConfigSnapshot.from_dict(sources.settings(folder / name))


@pytest.mark.parametrize(
    ("text", "tool", "r", "alpha", "lr", "targets"),
    [
        (AXOLOTL, "axolotl", 32, 16, 2e-4, ["all-linear"]),
        (LLAMA_FACTORY, "LLaMA-Factory", 8, 16, 1e-4, ["all-linear"]),
        (TRL, "TRL", 16, 32, 2e-4, []),
        (MLX, "mlx-lm", 8, 160, 1e-5, ["self_attn.q_proj"]),
        (V4, None, None, None, 5e-5, []),
    ],
)
def test_a_tools_file_is_read_with_its_defaults(
    tmp_path: Path, text: str, tool: str | None, r: int | None, alpha: float | None, lr: float, targets: list[str]
) -> None:
    """Numbers that YAML takes for texts are numbers."""
    config = read(tmp_path, text, "config.json" if text.startswith("{") else "config.yaml")
    assert config.training.extras.get("tool") == tool
    assert (config.lora.r, config.lora.alpha, config.optimizer.lr) == (r, alpha, lr)
    assert config.lora.target_modules == targets


@pytest.mark.parametrize(("text", "flag"), [(AXOLOTL, "load_in_4bit"), (LLAMA_FACTORY, "load_in_4bit")])
def test_a_quantised_base_is_known_by_each_tools_word(tmp_path: Path, text: str, flag: str) -> None:
    """QLoRA of axolotl, bits of LLaMA-Factory."""
    assert read(tmp_path, text).training.extras[flag] is True


def test_what_is_left_to_be_filled_in_later_is_not_said(tmp_path: Path) -> None:
    """DeepSpeed's auto, in any file."""
    assert read(tmp_path, AXOLOTL).training.dtype is None
    assert read(tmp_path, "learning_rate: auto\nweight_decay: auto\n").optimizer.lr is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"finetuning_type": "full", "lora_rank": 4}, {"lora_rank": 4}),
        ({"finetuning_type": "lora", "lora_rank": "x"}, {"lora_alpha": None}),
        ({"lora_parameters": "none"}, {"r": 8, "lora_alpha": 160.0}),
        ({"base_model": "m", "datasets": "none"}, {"dataset": None}),
        ({"base_model": "m", "datasets": []}, {"val_set_size": 0.0}),
    ],
)
def test_odd_files_raise_nothing(settings: dict[str, Any], expected: dict[str, Any]) -> None:
    """A rule says later what is wrong with a value."""
    found = tools.translated(settings)
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("settings", "tool"),
    [
        ({"template": "llama3", "learning_rate": 2e-4}, None),
        ({"max_length": 512, "learning_rate": 2e-4}, None),
        ({"datasets": [{"path": "a/b"}], "learning_rate": 2e-4}, None),
        ({"micro_batch_size": 1, "tensor_model_parallel_size": 8}, None),
        ({"model_name_or_path": "m", "use_peft": True, "datasets": [{"path": "a/b"}]}, "TRL"),
        ({"stage": "sft", "template": "llama3", "dataset": "alpaca"}, "LLaMA-Factory"),
        ({"base_model": "m", "datasets": [{"path": "a/b"}], "adapter": "lora"}, "axolotl"),
    ],
)
def test_a_word_that_many_tools_have_tells_nothing(settings: dict[str, Any], tool: str | None) -> None:
    """Another tool's defaults are not put into a file: they would be findings about settings that nobody made."""
    assert tools.recognise(settings) == tool
    assert (tools.translated(settings) == settings) == (tool is None)
