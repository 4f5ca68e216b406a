"""Makes the adapters beside it, with PEFT 0.18: `python tests/integrations/peft018/make.py` where that is installed.

They are kept in the repository because the older layouts cannot be written by a newer PEFT. `truth.json` holds the
singular values of PEFT's own update of each module, computed in float64.
"""

import json
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

HERE = Path(__file__).parent
TINY: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 16,
}


class PerExpert(torch.nn.Module):
    """The layout of transformers v4: every expert has linear layers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = torch.nn.ModuleList(self._expert() for _ in range(2))

    def _expert(self) -> torch.nn.Module:
        linear = torch.nn.Linear
        return torch.nn.ModuleDict({"w1": linear(8, 12), "w2": linear(12, 8), "w3": linear(8, 12)})


def llama() -> Any:
    """One layer of a random Llama."""
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**TINY, num_hidden_layers=1))


def mixtral() -> Any:
    """One layer of a random Mixtral of three experts."""
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**TINY, num_hidden_layers=1, num_local_experts=3))


def cases() -> dict[str, tuple[Any, Any]]:
    """A model and a config for each folder."""
    lora = peft.LoraConfig
    adalora = peft.AdaLoraConfig(
        total_step=10, tinit=1, tfinal=1, init_r=3, target_r=2, lora_alpha=5, target_modules=["q_proj"]
    )
    return {
        "linear": (llama(), lora(r=3, target_modules="all-linear", rank_pattern={"q_proj": 2}, use_rslora=True)),
        "embedding": (llama(), lora(r=2, target_modules=["embed_tokens", "lm_head"])),
        "dora": (llama(), lora(r=2, target_modules=["v_proj"], use_dora=True)),
        "adalora": (llama(), adalora),
        "conv": (torch.nn.ModuleDict({"c": torch.nn.Conv2d(2, 4, 3)}), lora(r=2, target_modules=["c"])),
        "attention": (torch.nn.ModuleDict({"m": torch.nn.MultiheadAttention(8, 2)}), lora(r=2, target_modules=["m"])),
        "per_expert": (PerExpert(), lora(r=2, lora_alpha=6, target_modules=["w1", "w2", "w3"])),
        "experts": (
            mixtral(),
            lora(r=2, lora_alpha=6, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj"]),
        ),
        "two_parameters": (
            mixtral(),
            lora(
                r=2,
                target_modules=[],
                target_parameters=["experts.down_proj", "experts.gate_up_proj"],
                alpha_pattern={"experts.down_proj": 9},
            ),
        ),
    }


def make(folder: Path, model: Any, config: Any) -> None:
    """Write one adapter with random factors, and the truth about it."""
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if ".lora_" in name and "magnitude" not in name:
                parameter.normal_(std=0.1)
    wrapped.save_pretrained(folder)
    (folder / "README.md").unlink()
    wrapped.double()
    (folder / "truth.json").write_text(json.dumps(truth(wrapped), indent=1) + "\n")


def truth(wrapped: Any) -> dict[str, list[float]]:
    """The singular values of every update by the name of its module."""
    found: dict[str, list[float]] = {}
    for path, module in wrapped.named_modules():
        if not hasattr(module, "get_delta_weight"):
            continue
        name = path.removeprefix("base_model.model.").replace(".base_layer", "")
        delta = module.get_delta_weight("default").detach()
        parameter = getattr(module, "parameter_name", None)
        if parameter is None:
            found[name] = torch.linalg.svdvals(delta.flatten(1)).tolist()
        else:
            found |= {f"{name}.{parameter}[{e}]": torch.linalg.svdvals(part).tolist() for e, part in enumerate(delta)}
    return found


if __name__ == "__main__":
    if not peft.__version__.startswith("0.18."):
        raise SystemExit(f"PEFT is {peft.__version__}; install 0.18 somewhere and put it first on PYTHONPATH")
    torch.manual_seed(0)
    for name, (model, config) in cases().items():
        make(HERE / name, model, config)
