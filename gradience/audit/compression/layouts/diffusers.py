"""The one file of diffusers' pipelines: each component's settings in its metadata, or alphas beside the factors."""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gradience.audit.compression import drafting
from gradience.audit.compression.drafting import FORMAT, Draft
from gradience.audit.compression.layouts import peft
from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.foreign import diffusers
from gradience.audit.disk.foreign.contents import ALPHA
from gradience.audit.disk.module import Module
from gradience.audit.tensors import safetensors_file

NAME: Final = "diffusers"


def draft(found: Adapter, ranks: Mapping[str, int]) -> Draft:
    """The adapter with its modules at these ranks."""
    weights = found.files.weights
    slots = drafting.singles(found.modules, ranks)
    alphas = {f"{diffusers.stem(slot.key_a)}{ALPHA}": float(slot.rank) for slot in slots}
    tensors = safetensors_file.header(weights)
    said = safetensors_file.metadata(weights)
    fields = diffusers.fields(weights)
    settled = {diffusers.SETTINGS: _settings(fields, found.modules, ranks)} if fields else {}
    return Draft(
        weights=weights.name,
        slots=slots,
        kept=drafting.rest(tensors, slots, ending=ALPHA),
        alphas={key: alpha for key, alpha in alphas.items() if key in tensors or not fields},
        metadata={**FORMAT, **said, **settled},
        has_companions=False,
    )


def _settings(fields: Mapping[str, Mapping[str, Any]], modules: tuple[Module, ...], ranks: Mapping[str, int]) -> str:
    """The settings of every component, under flat names."""
    flat: dict[str, Any] = {}
    for component, said in fields.items():
        inside = [
            msgspec.structs.replace(module, name=module.name.removeprefix(f"{component}."))
            for module in modules
            if module.name.startswith(f"{component}.")
        ]
        by_path = {module.name: ranks[f"{component}.{module.name}"] for module in inside}
        new = peft.settings(said, peft.by_owner(inside, by_path)) if inside else said
        flat |= {f"{component}.{name}": value for name, value in new.items()}
    return json.dumps(flat, indent=2, sort_keys=True)
