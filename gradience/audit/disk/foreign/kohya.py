"""LoRA of kohya's sd-scripts, which A1111, ComfyUI and musubi-tuner share: everything is in one safetensors file.

The scale is alpha / r, each module with an alpha of its own; where it is missing or 0, kohya takes r, so that it is 1.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from gradience.audit.disk.foreign import contents
from gradience.audit.disk.foreign.contents import Contents, Pair
from gradience.audit.disk.module import natural
from gradience.audit.refusal import listed, refuse
from gradience.audit.tensors import safetensors_file

NAME: Final = "kohya"

_TELL_TALE: Final = re.compile(r"\.lora_(?:down|up)\.|^lora_(?:unet|te\d?|transformer)_")
_FACTOR: Final = re.compile(r"(?P<module>.+)\.lora_(?P<side>down|up)\.weight")
_REFUSED: Final = (
    (r"\.lora_mid\.", "a LoCon module with a middle factor (Tucker decomposition)"),
    (r"\.dora_scale", "magnitudes of DoRA"),
    (r"\.(?:hada|lokr|oft|boft|glora|ia3)_|\.(?:a1|b1)\.weight|\.on_input", "a LyCORIS module that is not LoRA"),
    (r"\.diff(?:_b)?$|\.[wb]_norm$", "weights that were trained whole"),
    (r"\.lora_(?:down|up)\.\d", "factors that are split"),
)
_COMPONENTS: Final = (
    ("lora_unet_", "unet."),
    ("lora_te_", "text_encoder."),
    ("lora_te1_", "text_encoder."),
    ("lora_te2_", "text_encoder_2."),
    ("lora_te3_", "text_encoder_3."),
    ("lora_transformer_", "transformer."),
)
_PART: Final = re.compile(r"(^|[._])((?:self|cross|img|txt)_attn|attn\d?|(?:img|txt)_mlp|mlp|ffn?)_(?=[a-z])")


def is_one(keys: Collection[str]) -> bool:
    """Down and up factors, or names that start as kohya's do."""
    return any(map(_TELL_TALE.search, keys))


def settings(weights: Path) -> Path:
    """They are in the file itself."""
    return weights


def read(weights: Path) -> Contents:
    """The modules of one file, named by component (unet, text_encoder) and path.

    Raises:
        AdapterError: a module is not plain LoRA, or its factors do not fit.
    """
    tensors = safetensors_file.header(weights)
    contents.check_keys(weights, tensors, _REFUSED)
    pairs = contents.pairs(weights, tensors, _FACTOR)
    if not pairs:
        raise refuse(weights, "it holds no lora_down and lora_up weights", "check that it is the right file")
    alphas = contents.alphas(tensors)
    modules = sorted(
        (contents.module(_named(name), pair, alpha=alphas.get(name) or pair.r) for name, pair in pairs.items()),
        key=lambda module: natural(module.name),
    )
    said = safetensors_file.metadata(weights)
    info = contents.info(NAME, (weights, weights), modules, base_model=said.get("ss_sd_model_name"), step=_steps(said))
    rest = [key for key in tensors if not _FACTOR.fullmatch(key) and not key.endswith(contents.ALPHA)]
    contents.check_rest(weights, rest, pairs)
    return Contents(info=info, modules=tuple(modules), issues=_issues(rest, pairs, alphas))


def _named(name: str) -> str:
    """The path with its dots: kohya writes underscores, and means both."""
    prefix, component = next((one for one in _COMPONENTS if name.startswith(one[0])), ("", ""))
    path = re.sub(r"(\.\d+)_", r"\1.", re.sub(r"_(?=\d+(?:_|$))", ".", name.removeprefix(prefix)))
    return component + _PART.sub(r"\1\2.", path)


def _issues(rest: list[str], pairs: Mapping[str, Pair], alphas: Mapping[str, float]) -> tuple[str, ...]:
    without = [name for name in pairs if not alphas.get(name)]
    convs = [name for name, pair in pairs.items() if pair.is_conv]
    notes = {
        "no_alpha": without and f"modules without an alpha, or with 0, have the scale 1 ({listed(without)})",
        "conv": convs and f"convolutions are flattened to out channels x (in channels x kernel) ({listed(convs)})",
        "modules_to_save": rest and f"tensors stored whole are not audited ({listed(rest)})",
    }
    return tuple(f"{code}: {note}" for code, note in notes.items() if note)


def _steps(said: Mapping[str, str]) -> int | None:
    steps = said.get("ss_steps", "")
    return int(steps) if steps.isdecimal() and len(steps) < 18 else None
