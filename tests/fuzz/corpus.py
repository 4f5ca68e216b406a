"""Small valid adapters of every kind that the auditor reads, made by the documented rule of each layout."""

import json
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


def _tied(rng: Random) -> Draft:
    """An embedding and a head that repeats its factors transposed, each beside a copy of its own weight."""
    vocab, width, r = 30, 8, 3
    a, b = normal(rng, r, vocab), normal(rng, width, r)
    tensors = {
        "model.embed_tokens.lora_embedding_A": a,
        "model.embed_tokens.lora_embedding_B": b,
        "model.embed_tokens.base_layer.weight": normal(rng, vocab, width),
        "lm_head.lora_A.weight": b.T,
        "lm_head.lora_B.weight": a.T,
        "lm_head.base_layer.weight": normal(rng, vocab, width),
        "model.layers.0.self_attn.q_proj.lora_A.weight": normal(rng, r, width),
        "model.layers.0.self_attn.q_proj.lora_B.weight": normal(rng, width, r),
    }
    return _of(config(r, ensure_weight_tying=True, target_modules=["embed_tokens", "lm_head", "q_proj"]), tensors)


def _embedding(rng: Random) -> Draft:
    tensors = {"wte.lora_embedding_A": normal(rng, 4, 50), "wte.lora_embedding_B": normal(rng, 6, 4)}
    return _of(config(4, target_modules=["wte"], trainable_token_indices=None), tensors)


def _convolutions(rng: Random) -> Draft:
    tensors = {}
    for dimensions in (1, 2, 3):
        kernel = [2, 3, 1][:dimensions]
        tensors[f"conv{dimensions}.lora_A.weight"] = normal(rng, 4, 5, *kernel)
        tensors[f"conv{dimensions}.lora_B.weight"] = normal(rng, 7, 4, *[1] * dimensions)
    return _of(config(4, target_modules=["conv1", "conv2", "conv3"], task_type=None), tensors)


def _attention(rng: Random) -> Draft:
    """MultiheadAttention: the fused input projection, and the output projection inside its wrapper."""
    tensors = {
        "encoder.attn.lora_A.weight": normal(rng, 4, 8),
        "encoder.attn.lora_B.weight": normal(rng, 24, 4),
        "encoder.attn.base_layer.out_proj.lora_A.weight": normal(rng, 4, 8),
        "encoder.attn.base_layer.out_proj.lora_B.weight": normal(rng, 8, 4),
    }
    return _of(config(4, target_modules=["attn"], alpha_pattern={"encoder.attn": 3}), tensors)


def _experts(rng: Random, **fields: Any) -> Draft:
    """Two parameters of a layer of experts, each pair shared by all experts."""
    experts, r = 3, 2
    stem = "model.layers.0.mlp.experts"
    tensors = {
        f"{stem}.base_layer.lora_A.weight": normal(rng, r * experts, 6),
        f"{stem}.base_layer.lora_B.weight": normal(rng, 16, r * experts),
        f"{stem}.lora_A.weight": normal(rng, r * experts, 8),
        f"{stem}.lora_B.weight": normal(rng, 6, r * experts),
    }
    targets = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    fields = {"alpha_pattern": {f"{stem}.down_proj": 5}, **fields}
    return _of(config(r, target_modules=[], target_parameters=targets, **fields), tensors)


def _parameter(rng: Random) -> Draft:
    tensors = {
        "model.layers.0.gate.lora_A.weight": normal(rng, 4, 9),
        "model.layers.0.gate.lora_B.weight": normal(rng, 5, 4),
    }
    return _of(config(4, target_modules=[], target_parameters=["gate.weight"]), tensors)


def _dora(rng: Random) -> Draft:
    made = _linear(rng, use_dora=True)
    for name, (out, _) in names().items():
        made.tensors[f"{PREFIX}{name}.lora_magnitude_vector"] = stored(normal(rng, out))
    return made


def _pissa(rng: Random) -> Draft:
    """Measured is what training changed: the adapter less the one that it began with."""
    made = _linear(rng, init_lora_weights="pissa")
    made.initial = _linear(rng, init_lora_weights="pissa")
    return made


def _adalora(rng: Random) -> Draft:
    """Modules of different ranks, one of them with nothing left."""
    tensors = {}
    for left, (name, (out, into)) in enumerate(names().items()):
        tensors[f"{name}.lora_A"] = normal(rng, left, into)
        tensors[f"{name}.lora_B"] = normal(rng, out, left)
        tensors[f"{name}.lora_E"] = normal(rng, left, 1)
    pattern = {f"{name}.lora_E": [True] * i + [False] * (12 - i) for i, name in enumerate(names())}
    return _of(config(8, peft_type="ADALORA", init_r=12, target_r=4, rank_pattern=pattern), tensors)


def _kohya(rng: Random) -> Draft:
    """Linear layers and convolutions, with an alpha, with 0 and without."""
    tensors = {}
    for number, stem in enumerate(("lora_unet_down_blocks_0_attentions_0_to_q", "lora_te_text_model_layers_0_mlp_fc1")):
        tensors[f"{stem}.lora_down.weight"] = normal(rng, 4, 10)
        tensors[f"{stem}.lora_up.weight"] = normal(rng, 12, 4)
        tensors[f"{stem}.alpha"] = np.array(2.0 * number)
    tensors["lora_unet_mid_block_resnets_0_conv1.lora_down.weight"] = normal(rng, 3, 5, 3, 3)
    tensors["lora_unet_mid_block_resnets_0_conv1.lora_up.weight"] = normal(rng, 7, 3, 1, 1)
    return _file("style.safetensors", tensors, {"ss_network_dim": "4", "ss_network_module": "networks.lora"})


def _diffusers(rng: Random, *, says: str = "settings") -> Draft:
    """Two components, whose settings are in the metadata; or alphas; or neither."""
    stems = ("unet.down_blocks.0.attn1.to_q", "unet.mid_block.attn1.to_k", "text_encoder.layers.0.self_attn.q_proj")
    tensors = {}
    for stem in stems:
        tensors[f"{stem}.lora_A.weight"] = normal(rng, 4, 10)
        tensors[f"{stem}.lora_B.weight"] = normal(rng, 12, 4)
        if says == "alphas":
            tensors[f"{stem}.alpha"] = np.array(3.0)
    settings = {"unet.r": 4, "unet.lora_alpha": 6, "unet.alpha_pattern": {"to_k": 1}, "text_encoder.r": 4}
    said = {"lora_adapter_metadata": json.dumps(settings)} if says == "settings" else {"format": "pt"}
    return _file("pytorch_lora_weights.safetensors", tensors, said)


def _mlx(rng: Random) -> Draft:
    tensors = {}
    for name, (out, into) in names().items():
        tensors[f"{name}.lora_a"] = normal(rng, into, 4)
        tensors[f"{name}.lora_b"] = normal(rng, 4, out)
    said = {
        "fine_tune_type": "lora",
        "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.0},
        "model": "org/base",
    }
    made = _file("adapters.safetensors", tensors, {})
    made.config, made.has_config = said, True
    return made


def _file(name: str, tensors: Mapping[str, np.ndarray], metadata: dict[str, str]) -> Draft:
    values = {key: stored(tensor, "F32") for key, tensor in tensors.items()}
    return Draft(config={}, tensors=values, metadata=metadata, weights=name, has_config=False)


def _of(said: dict[str, Any], tensors: Mapping[str, np.ndarray], dtype: str = "F32") -> Draft:
    values = {PREFIX + key: stored(tensor, dtype) for key, tensor in tensors.items()}
    return Draft(config=said, tensors=values, metadata={"format": "pt"})


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
    "embedding": _embedding,
    "tied embeddings": _tied,
    "convolutions": _convolutions,
    "attention": _attention,
    "experts": _experts,
    "experts by expert": lambda rng: _experts(rng, lora_B_layout="grouped_by_expert"),
    "experts before 0.19": lambda rng: _experts(rng, peft_version="0.18.1"),
    "parameter": _parameter,
    "dora": _dora,
    "adalora": _adalora,
    "pissa": _pissa,
    "kohya": _kohya,
    "diffusers": _diffusers,
    "diffusers with alphas": lambda rng: _diffusers(rng, says="alphas"),
    "diffusers without": lambda rng: _diffusers(rng, says="nothing"),
    "mlx": _mlx,
}
