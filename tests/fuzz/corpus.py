"""Small valid adapters of every kind that the auditor reads, made by the documented rule of each layout."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

import numpy as np

from tests.fuzz.draft import Draft, Stored, stored

PREFIX: Final = "base_model.model."
SHAPES: Final = {"self_attn.q_proj": (12, 12), "self_attn.v_proj": (6, 12), "mlp.down_proj": (12, 20)}  # (out, in)


def normal(rng: Random, *shape: int, size: float = 0.1) -> np.ndarray:
    """Numbers with a spectrum that means something: neither flat nor degenerate."""
    return np.random.default_rng(rng.getrandbits(64)).normal(size=shape) * size


def names(layers: int = 2) -> dict[str, tuple[int, int]]:
    """Module paths of a small Llama with the shapes of their weights."""
    return {f"model.layers.{i}.{leaf}": shape for i in range(layers) for leaf, shape in SHAPES.items()}


def config(r: int, **fields: Any) -> dict[str, Any]:
    """The fields of PEFT's `LoraConfig` that it writes for a plain adapter."""
    return {
        "auto_mapping": None,
        "alpha_pattern": {},
        "base_model_name_or_path": "org/base",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layer_replication": None,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": 2 * r,
        "lora_bias": False,
        "lora_dropout": 0.05,
        "modules_to_save": None,
        "peft_type": "LORA",
        "peft_version": "0.21.2",
        "r": r,
        "rank_pattern": {},
        "revision": None,
        "target_modules": ["q_proj", "v_proj", "down_proj"],
        "target_parameters": None,
        "task_type": "CAUSAL_LM",
        "trainable_token_indices": None,
        "use_dora": False,
        "use_rslora": False,
        **fields,
    }


def factors(
    rng: Random, shapes: Mapping[str, tuple[int, int]], ranks: Mapping[str, int], dtype: str = "F32", infix: str = ""
) -> dict[str, Stored]:
    """A and B of each module."""
    tensors = {}
    for name, (out, into) in shapes.items():
        r = ranks[name]
        tensors[f"{PREFIX}{name}.lora_A{infix}.weight"] = stored(normal(rng, r, into), dtype)
        tensors[f"{PREFIX}{name}.lora_B{infix}.weight"] = stored(normal(rng, out, r), dtype)
    return tensors


def _linear(
    rng: Random, *, r: int = 4, dtype: str = "F32", form: str = "safetensors", infix: str = "", **fields: Any
) -> Draft:
    shapes = names()
    tensors = factors(rng, shapes, dict.fromkeys(shapes, r), dtype, infix)
    return Draft(config=config(r, **fields), tensors=tensors, metadata={"format": "pt"}, form=form)


def _patterns(rng: Random) -> Draft:
    shapes = names()
    ranks = {name: 2 if "q_proj" in name else 5 if ".1.mlp" in name else 4 for name in shapes}
    said = config(
        4,
        rank_pattern={"q_proj": 2, "model.layers.1.mlp.down_proj": 5},
        alpha_pattern={"^model.layers.0.self_attn.q_proj": 3.5, r"layers\.1\..*_proj": 16, "v_proj": 1},
    )
    return Draft(config=said, tensors=factors(rng, shapes, ranks), metadata={"format": "pt"})


def _extras(rng: Random) -> Draft:
    """Biases and whole tensors beside the factors."""
    made = _linear(rng, bias="all", lora_bias=True, modules_to_save=["score"])
    made.tensors[f"{PREFIX}score.weight"] = stored(normal(rng, 3, 12))
    made.tensors[f"{PREFIX}model.layers.0.self_attn.q_proj.lora_B.bias"] = stored(normal(rng, 12))
    made.tensors[f"{PREFIX}model.layers.0.self_attn.q_proj.base_layer.bias"] = stored(normal(rng, 12))
    return made


def _deficient(rng: Random) -> Draft:
    """Fewer directions than r, some modules untrained, and more rank than a layer has room for."""
    shapes = {"model.layers.0.mlp.up_proj": (5, 3), "model.layers.0.mlp.gate_proj": (12, 12)}
    tensors = factors(rng, shapes, dict.fromkeys(shapes, 8))
    tensors[f"{PREFIX}model.layers.0.mlp.gate_proj.lora_B.weight"] = stored(np.zeros((12, 8)))
    return Draft(config=config(8), tensors=tensors, metadata={})


KINDS: Final[dict[str, Callable[[Random], Draft]]] = {
    "linear": _linear,
    "rank one": lambda rng: _linear(rng, r=1),
    "rslora": lambda rng: _linear(rng, use_rslora=True, lora_alpha=7.5),
    "patterns": _patterns,
    "bf16": lambda rng: _linear(rng, dtype="BF16"),
    "fp16": lambda rng: _linear(rng, dtype="F16"),
    "fp64": lambda rng: _linear(rng, dtype="F64"),
    "fp8": lambda rng: _linear(rng, dtype="F8_E4M3"),
    "fp8 e5m2": lambda rng: _linear(rng, dtype="F8_E5M2"),
    "bin": lambda rng: _linear(rng, form="zip"),
    "bin bf16": lambda rng: _linear(rng, form="zip", dtype="BF16"),
    "bin legacy": lambda rng: _linear(rng, form="legacy"),
    "adapter name": lambda rng: _linear(rng, infix=".default"),
    "extras": _extras,
    "deficient": _deficient,
}
