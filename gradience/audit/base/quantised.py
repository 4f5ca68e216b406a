"""Which stored numbers are not the weights that a model computes with: a norm of them would be a wrong number."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gradience.audit.base.shards import Base
from gradience.audit.refusal import quoted
from gradience.audit.tensors.safetensors_file import Tensor

_FLOATS = ("F64", "F32", "F16", "BF16")
_CONFIGS = ("quantization_config", "compression_config", "quantization")
_SCALES = ("_scale", "_scale_inv", ".absmax", "_blocks")  # after a quantised tensor's own key
_BESIDE = ("SCB", "scales")  # in its module
_PACKED = (".qweight", ".weight_packed", ".codes", ".W_q")  # of GPTQ and AWQ, compressed-tensors, AQLM, HQQ
_DEPTH = 3  # of configs inside configs: a multimodal model keeps its language model's own there


def model(base: Base) -> str | None:
    """Why nothing of this model can be measured; None when neither its config nor a key tells of quantisation."""
    found = next(_sections(base.config, _DEPTH), None)
    packed = next((key for key in base.tensors if key.endswith(_PACKED)), None)
    if found is None and packed is None:
        return None
    tell_tale = packed if found is None else found.get("quant_method") or found.get("format") or "an unnamed method"
    return f"the base model is quantised ({quoted(tell_tale)}): give the 16-bit model that it was made from"


def tensor(found: Tensor, keys: Collection[str]) -> str | None:
    """Why the tensor that was found for a weight is not that weight; None when it is."""
    if found.dtype not in _FLOATS:
        return f"stored as {quoted(found.dtype)}"
    names = (
        *(f"{found.key}{end}" for end in _SCALES),
        *(f"{found.key.removesuffix('weight')}{end}" for end in _BESIDE),
    )
    companion = next((name for name in names if name in keys), None)
    return f"stored with {quoted(companion)}" if companion else None


def _sections(config: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    for key, value in config.items():
        if not isinstance(value, dict):
            continue
        if key in _CONFIGS and value:
            yield value
        elif depth:
            yield from _sections(value, depth - 1)
