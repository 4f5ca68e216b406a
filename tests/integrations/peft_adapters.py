"""Tiny random models, adapters that PEFT writes for them, and the update of each module as PEFT computes it."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from gradience.audit.record import AuditRecord

LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """The same random models and factors every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def llama(**options: Any) -> Any:
    """Two layers of a random Llama."""
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**LLAMA, **options}))


def gpt2() -> Any:
    """Two layers of a random GPT-2, whose linear layers are Conv1D."""
    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, n_positions=16)
    return transformers.GPT2LMHeadModel(config)


def t5() -> Any:
    """A random T5 of two blocks."""
    config = transformers.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=64)
    return transformers.T5ForConditionalGeneration(config)


def bert() -> Any:
    """A random BERT classifier of two layers."""
    config = transformers.BertConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=64
    )
    return transformers.BertForSequenceClassification(config)


def mixtral() -> Any:
    """A random Mixtral of four experts."""
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**LLAMA, num_local_experts=4))


def qwen_moe() -> Any:
    """A random Qwen3-MoE of four experts."""
    options = {**LLAMA, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    return transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**options))


def gpt_oss() -> Any:
    """A random gpt-oss of four experts, whose parameters lie transposed and have biases among them."""
    options = {**LLAMA, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2}
    return transformers.GptOssForCausalLM(transformers.GptOssConfig(**options))


def layers(**modules: torch.nn.Module) -> Callable[[], Any]:
    """A model that is nothing but these layers, the same ones each time."""

    def make() -> Any:
        return torch.nn.ModuleDict(copy.deepcopy(modules))

    return make


def saved(model: Any, folder: Path, config: Any, **options: Any) -> Path:
    """An adapter in `folder` whose every factor is random, as PEFT saves it."""
    wrapped = peft.get_peft_model(model, config)
    scramble(wrapped)
    wrapped.save_pretrained(folder, **options)
    return folder


def rewritten(folder: Path, **fields: Any) -> Path:
    """The same adapter with other fields in its config."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def scramble(wrapped: Any) -> None:
    """Random numbers for every trained parameter of the factors."""
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if ".lora_" in name and "magnitude" not in name and "monteclora" not in name:
                parameter.normal_(std=0.1)


def updates(model: Any, folder: Path) -> dict[str, torch.Tensor]:
    """The float64 update of every adapted module as PEFT gives it after loading the adapter, flattened to a matrix."""
    wrapped = peft.PeftModel.from_pretrained(model, folder).double()
    found: dict[str, torch.Tensor] = {}
    for path, module in wrapped.named_modules():
        if hasattr(module, "get_delta_weight"):
            name = path.removeprefix("base_model.model.").replace(".base_layer", "")
            found.update(_named(name, module))
    return found


def _named(name: str, module: Any) -> dict[str, torch.Tensor]:
    delta = module.get_delta_weight("default").detach()
    parameter = getattr(module, "parameter_name", None)
    if parameter is None:
        return {name: delta.flatten(1)}
    if delta.ndim == 2:
        return {f"{name}.{parameter}": delta}
    return {f"{name}.{parameter}[{expert}]": part for expert, part in enumerate(delta)}


def assert_true(record: AuditRecord, truth: dict[str, torch.Tensor]) -> None:
    """Every module is there, and its spectrum is that of the dense update in float64."""
    assert {module.name for module in record.modules} == truth.keys()
    for module in record.modules:
        update = truth[module.name]
        values = torch.linalg.svdvals(update)[: module.r].tolist()
        values += [0.0] * (module.r - len(values))
        assert module.singular_values == pytest.approx(values, rel=1e-9, abs=2 * module.sigma_floor)
        assert {module.in_features, module.out_features} == set(update.shape)
