"""PEFT's two files. What leaves is plain LoRA with alpha = r, whatever came: AdaLoRA, rsLoRA, patterns, a difference.

Every other field of the config stays as it was, and so does every tensor that is no factor. Only a bias of lora_B acts
through the scale: it takes it in.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gradience.audit.compression.drafting import Draft, Kept, Slot, pairs
from gradience.audit.disk import adapter, config, keys, patterns, trainer
from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.folder import WEIGHTS
from gradience.audit.disk.keys import PREFIX, Keys
from gradience.audit.disk.module import Module, owner
from gradience.audit.disk.variants import LORA
from gradience.audit.tensors.safetensors_file import Tensor

NAME: Final = "peft"

_OF_ADALORA: Final = frozenset(
    {"target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"}
)
_OF_TRAINING: Final[Mapping[str, Any]] = {  # what decides only how factors begin, or how training treats them
    "eva_config": None, "corda_config": None, "lora_ga_config": None, "loftq_config": {}, "velora_config": None,
    "monteclora_config": None,
}  # fmt: skip
_BIAS: Final = re.compile(r"(?P<path>.+)\.lora_B(?:\.[^.]+)?\.bias")


def draft(found: Adapter, ranks: Mapping[str, int]) -> Draft:
    """The adapter with its modules at these ranks."""
    tensors = adapter.tensors(found.files.weights)
    there = keys.sort(found.files.weights, tensors)
    by_factor = {pair.a.key: path for path, pair in there.pairs.items()}
    slots = tuple(_slot(there, by_factor, modules, ranks) for modules in pairs(found.modules))
    return Draft(
        weights=WEIGHTS[0],
        slots=slots,
        kept=tuple(_kept(there, tensors, found.modules)),
        files={trainer.CONFIG: _config(found, ranks)},
    )


def settings(fields: Mapping[str, Any], ranks: Mapping[str, int]) -> dict[str, Any]:
    """The fields of a config with those changed that say what the factors mean; `ranks` are by name for the lookup."""
    largest = max(ranks.values())
    pattern = patterns.exact({name: rank for name, rank in ranks.items() if rank != largest}, list(ranks))
    changed = {
        "r": largest,
        "lora_alpha": largest,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "use_rslora": False,
        "init_lora_weights": True,
    }
    ended = {name: nothing for name, nothing in _OF_TRAINING.items() if name in fields}
    return {**{name: value for name, value in fields.items() if name not in _OF_ADALORA}, **ended, **changed}


def by_owner(modules: Iterable[Module], ranks: Mapping[str, int]) -> dict[str, int]:
    """The ranks by the names under which PEFT looks them up."""
    return {owner(module.name, module.kind): ranks[module.name] for module in modules}


def _config(found: Adapter, ranks: Mapping[str, int]) -> bytes:
    fields = settings(config.fields(found.files.config), by_owner(found.modules, ranks))
    return json.dumps({**fields, "peft_type": LORA}, indent=2, sort_keys=True).encode()


def _slot(there: Keys, by_factor: Mapping[str, str], modules: tuple[Module, ...], ranks: Mapping[str, int]) -> Slot:
    path = by_factor[modules[0].products[0].a.key]
    form = there.pairs[path].form
    stem = f"{PREFIX}{path}.lora_"
    key_a, key_b = (f"{stem}A.weight", f"{stem}B.weight")
    if form is keys.Form.EMBEDDING:
        key_a, key_b = f"{stem}embedding_A", f"{stem}embedding_B"
    return Slot(key_a=key_a, key_b=key_b, rank=ranks[modules[0].name], modules=modules)


def _kept(there: Keys, tensors: Mapping[str, Tensor], modules: Iterable[Module]) -> Iterable[Kept]:
    factors = {tensor.key for pair in there.pairs.values() for tensor in (pair.a, pair.b, pair.e) if tensor}
    scales = {module.name: module.scale for module in modules}
    for key, tensor in tensors.items():
        if key in factors or keys.is_training_only(key):
            continue
        bias = _BIAS.fullmatch(key)
        times = scales.get(bias["path"].removeprefix(PREFIX), 1.0) if bias else 1.0
        yield Kept(key=_renamed(there, key), tensor=tensor, times=times)


def _renamed(there: Keys, key: str) -> str:
    """The key as PEFT saves it: with its prefix, without the adapter's name."""
    if there.adapter is not None:
        name = re.escape(there.adapter)
        key = re.sub(rf"\.lora_magnitude_vector\.{name}(?:\.weight)?$", ".lora_magnitude_vector", key)
        key = re.sub(rf"(\.lora_B|\.modules_to_save|\.trainable_tokens_delta)\.{name}(?=\.|$)", r"\1", key)
    return key if there.prefixed else f"{PREFIX}{key}"
