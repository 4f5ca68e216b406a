"""LoRA of diffusers' pipelines: `pytorch_lora_weights.safetensors`, in which each component has its own PEFT settings.

The settings are in the file's metadata. A file without them (of earlier versions, or of other tools) has alpha / r from
its `.alpha` entries, and where there are none the scale 1: that is how it is loaded, whatever it was trained with.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gradience.audit.disk import assembly, config, keys
from gradience.audit.disk.assembly import Assembled
from gradience.audit.disk.config import LoraConfig
from gradience.audit.disk.foreign import contents
from gradience.audit.disk.foreign.contents import Contents, Pair
from gradience.audit.disk.module import Module, natural
from gradience.audit.refusal import listed, quoted, refuse
from gradience.audit.tensors import safetensors_file

NAME: Final = "diffusers"

SETTINGS: Final = "lora_adapter_metadata"
_SETTINGS_LIMIT: Final = 16 << 20  # bytes, as of an adapter's config
_FACTOR: Final = re.compile(
    r"(?P<module>(?:unet|text_encoder(?:_\d)?|transformer(?:_\d)?|prior|controlnet|diffusion_model)\..+?)"
    r"(?:\.lora_linear_layer\.|[._]lora[._])(?P<side>A|B|down|up)\.weight"
)
_REFUSED: Final = (
    (r"\.lora_magnitude_vector|\.dora_scale", "magnitudes of DoRA"),
    (r"\.(?:hada|lokr|oft|boft)_", "an adapter that is not LoRA"),
    (r"\.diff(?:_b)?$", "weights that were trained whole"),
)
_MEND: Final = "save it again with `save_lora_weights`"

_Pairs = Mapping[str, Pair]


def is_one(names: Collection[str]) -> bool:
    """Factors under the name of a pipeline's component."""
    return any(map(_FACTOR.fullmatch, names))


def settings(weights: Path) -> Path:
    """They are in the file itself."""
    return weights


def read(weights: Path) -> Contents:
    """The modules of one file, named by component and path.

    Raises:
        AdapterError: a component is not plain LoRA, or its settings are missing or make no sense.
    """
    tensors = safetensors_file.header(weights)
    contents.check_keys(weights, tensors, _REFUSED)
    found = contents.pairs(weights, tensors, _FACTOR)
    pairs = {name.replace(".processor.", "."): pair for name, pair in found.items()}
    if len(pairs) < len(found):
        raise refuse(weights, "factors under different keys are those of the same module", _MEND)
    alphas = {name.replace(".processor.", "."): alpha for name, alpha in contents.alphas(tensors).items()}
    said = fields(weights)
    parts = _configured(weights, pairs, said) if said else {}
    named = _named(parts) if said else _plain(weights, pairs, alphas)
    modules = tuple(sorted(named, key=lambda module: natural(module.name)))
    convs = [name for name, pair in pairs.items() if pair.is_conv]
    rest = [key for key in tensors if not _FACTOR.fullmatch(key) and not key.endswith(contents.ALPHA)]
    contents.check_rest(weights, rest, found)
    notes = {
        "no_alpha": not said
        and not alphas
        and "the file holds no alpha, and is loaded with the scale 1 whatever it was trained with",
        "conv": convs and f"convolutions are flattened to out channels x (in channels x kernel) ({listed(convs)})",
        "modules_to_save": rest and f"other tensors are not audited ({listed(rest)})",
    }
    patterns = [issue for part in parts.values() for issue in (*part.ranks.issues(), *part.alphas.issues())]
    return Contents(
        info=contents.info(NAME, (weights, weights), modules),
        modules=modules,
        issues=(*(f"{code}: {note}" for code, note in notes.items() if note), *patterns),
    )


def fields(weights: Path) -> dict[str, dict[str, Any]]:
    """The settings of each component; empty for a file without any."""
    raw = safetensors_file.metadata(weights).get(SETTINGS, "{}")
    try:
        found = msgspec.json.decode(raw) if len(raw) <= _SETTINGS_LIMIT else None
    except (msgspec.MsgspecError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise refuse(weights, f"its metadata {SETTINGS} is no JSON object of a sensible size", _MEND)
    parts: dict[str, dict[str, Any]] = {}
    for key, value in found.items():
        component, _, field = key.partition(".")
        parts.setdefault(component, {})[field] = value
    return parts


def stem(key: str) -> str:
    """What the key of a factor shares with that of its alpha.

    Raises:
        ValueError: it is the key of no factor.
    """
    if match := _FACTOR.fullmatch(key):
        return match["module"]
    raise ValueError(f"{key} is no factor")


def _configured(weights: Path, pairs: _Pairs, said: Mapping[str, dict[str, Any]]) -> dict[str, Assembled]:
    """PEFT's own rules, component by component."""
    parts: dict[str, dict[str, keys.Pair]] = {}
    for name, pair in pairs.items():
        component, _, path = name.partition(".")
        parts.setdefault(component, {})[path] = keys.Pair(form=keys.Form.WEIGHT, a=pair.a, b=pair.b)
    if missing := [component for component in parts if component not in said]:
        raise refuse(weights, f"its metadata has no settings for {listed(missing)}", _MEND)
    return {
        component: assembly.assemble((weights, weights), _settings(weights, component, said[component]), inside)
        for component, inside in parts.items()
    }


def _settings(weights: Path, component: str, given: dict[str, Any]) -> LoraConfig:
    said = config.of(weights, {"peft_type": "LORA", **given})
    if said.use_dora or said.changes_base or said.is_adalora:
        wrong = (
            f"the settings of {quoted(component)} are those of DoRA, of AdaLoRA or of an initialisation like PiSSA's"
        )
        raise refuse(weights, wrong, "B @ A is not its update")
    return said


def _named(parts: Mapping[str, Assembled]) -> list[Module]:
    return [
        msgspec.structs.replace(module, name=f"{component}.{module.name}")
        for component, part in parts.items()
        for module in part.modules
    ]


def _plain(weights: Path, pairs: _Pairs, alphas: Mapping[str, float]) -> list[Module]:
    without = [name for name in pairs if name not in alphas]
    if alphas and without:
        wrong = f"only some of its modules have an alpha (not {listed(without)}), and tools differ on the others"
        raise refuse(weights, wrong, _MEND)
    return [contents.module(name, pair, alpha=alphas.get(name, pair.r)) for name, pair in pairs.items()]
