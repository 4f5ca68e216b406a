"""LoRA of mlx-lm: `adapters.safetensors`, and beside it an `adapter_config.json` of its own form.

Its scale is used as it is, not divided by the rank, and both factors are stored transposed: lora_a (in, r) and
lora_b (r, out).
"""

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from gradience.audit.disk import trainer
from gradience.audit.disk.foreign import contents
from gradience.audit.disk.foreign.contents import Contents
from gradience.audit.disk.module import natural
from gradience.audit.refusal import listed, quoted, refuse
from gradience.audit.tensors import safetensors_file

NAME: Final = "mlx-lm"

_CONFIG_LIMIT: Final = 16 << 20  # bytes
_FACTOR: Final = re.compile(r"(?P<module>.+)\.lora_(?P<side>[ab])")
_MEND: Final = "put the config of this training run beside it"


class _Parameters(msgspec.Struct, frozen=True):
    rank: int
    scale: float


class _Config(msgspec.Struct, frozen=True):
    lora_parameters: _Parameters
    fine_tune_type: str = "lora"
    model: str | None = None


def is_one(names: Collection[str]) -> bool:
    """Factors whose names end with lora_a and lora_b."""
    return any(map(_FACTOR.fullmatch, names))


def settings(weights: Path) -> Path:
    """The config beside the weights."""
    return weights.parent / "adapter_config.json"


def read(weights: Path) -> Contents:
    """The modules of one file.

    Raises:
        AdapterError: it is not plain LoRA on linear layers or embeddings, or its config is missing or makes no sense.
    """
    said = _config(settings(weights))
    tensors = safetensors_file.header(weights)
    experts = [key for key, tensor in tensors.items() if _FACTOR.fullmatch(key) and len(tensor.shape) > 2]
    if experts:
        raise refuse(weights, f"it holds LoRA on stacked experts ({listed(experts)})", "only single layers are audited")
    pairs = contents.pairs(weights, tensors, _FACTOR, transposed=True)
    r, scale = said.lora_parameters.rank, said.lora_parameters.scale
    if other := [name for name, pair in pairs.items() if pair.r != r]:
        raise refuse(weights, f"its config gives it rank {r}, but modules have another ({listed(other)})", _MEND)
    modules = tuple(
        contents.module(name, pair, alpha=scale * r, scale=scale)
        for name, pair in sorted(pairs.items(), key=lambda item: natural(item[0]))
    )
    rest = [key for key in tensors if not _FACTOR.fullmatch(key)]
    contents.check_rest(weights, rest, pairs)
    return Contents(
        info=contents.info(
            NAME, (settings(weights), weights), modules, base_model=said.model, step=trainer.number_in(weights.name)
        ),
        modules=modules,
        issues=(f"modules_to_save: tensors stored whole are not audited ({listed(rest)})",) if rest else (),
    )


def _config(path: Path) -> _Config:
    if not path.is_file():
        raise refuse(path, "it is missing, so the scale of this mlx-lm adapter is not known", _MEND)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Config) if path.stat().st_size <= _CONFIG_LIMIT else None
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "check its permissions") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(path, f"it is no config of mlx-lm's LoRA ({quoted(error)})", _MEND) from error
    if found is None or not math.isfinite(found.lora_parameters.scale):
        raise refuse(path, "its scale is no number, or it is far too large for a config", _MEND)
    if found.fine_tune_type != "lora":
        kind = quoted(found.fine_tune_type)
        raise refuse(path, f"its fine_tune_type is {kind}, whose update is not scale * B @ A", "only lora is audited")
    return found
