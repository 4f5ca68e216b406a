"""What a model says of itself: its adapter's settings, its size and its quantisation. It is read, never changed."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from gradience.settings import snapshot

_BITS: Final = {"load_in_4bit": 4, "load_in_8bit": 8}
_COMPUTE: Final = ("bnb_4bit_compute_dtype", "compute_dtype")
_SCHEMES: Final = ("bnb_4bit_quant_type", "quant_method")


def config(model: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The nested shape of `ConfigSnapshot`: the adapter's settings, and beneath them those of the training."""
    quantization = _quantization(model)
    flags = {flag: True for flag in _BITS if quantization.get(flag) is True}
    name = getattr(getattr(model, "config", None), "_name_or_path", None)
    below = snapshot.canonical({**_plain({**settings, **flags}), **({"model_name": name} if name else {})})
    return snapshot.fill(snapshot.canonical(_plain(adapter(model))), below)


def meta(model: Any) -> dict[str, Any]:
    """Parameters, and the quantisation of a base that is quantised."""
    found: dict[str, Any] = {"parameters": parameters(model)}
    if quantization := quantized(model):
        found["quantization"] = quantization
    return found


def adapter(model: Any) -> dict[str, Any]:
    """PEFT's configuration of the active adapter; empty without one."""
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, Mapping) or not configs:
        return {}
    active = getattr(model, "active_adapter", None)
    chosen = configs.get(active) if isinstance(active, str) else None
    found = (chosen or next(iter(configs.values()))).to_dict()
    return {key: sorted(value) if isinstance(value, set) else value for key, value in found.items()}


def adapted(module: Any) -> Any:
    """The model with a PEFT adapter in a torch module: itself, or the first in it; None without one."""
    return next((one for one in module.modules() if adapter(one) and hasattr(one, "save_pretrained")), None)


def parameters(model: Any) -> dict[str, int]:
    """How many parameters there are, and how many of them are trained."""
    sizes = [(one.numel(), one.requires_grad) for one in model.parameters()] if model is not None else []
    return {"total": sum(size for size, _ in sizes), "trainable": sum(size for size, trained in sizes if trained)}


def quantized(model: Any) -> dict[str, Any]:
    """Bits, scheme and compute type of a quantised base; empty for one that is not."""
    settings = _quantization(model)
    bits = next((bits for flag, bits in _BITS.items() if settings.get(flag) is True), settings.get("bits"))
    told = {
        "bits": bits,
        "scheme": next((str(_word(settings[key])) for key in _SCHEMES if settings.get(key)), None),
        "compute_dtype": next(
            (str(settings[key]).removeprefix("torch.") for key in _COMPUTE if settings.get(key)), None
        ),
    }
    return {key: value for key, value in told.items() if value is not None}


def _quantization(model: Any) -> dict[str, Any]:
    settings = getattr(getattr(model, "config", None), "quantization_config", None)
    if settings is not None and not isinstance(settings, Mapping):
        settings = settings.to_dict()
    return dict(settings or {})


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _word(value) for key, value in settings.items()}


def _word(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
