"""What a run was meant to do, from a Trainer's arguments and its model: reading alone, nothing is changed."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from gradience.settings import snapshot

_BITS: Final = {"load_in_4bit": 4, "load_in_8bit": 8}
_COMPUTE: Final = ("bnb_4bit_compute_dtype", "compute_dtype")
_SCHEMES: Final = ("bnb_4bit_quant_type", "quant_method")


def config(arguments: Any, model: Any) -> dict[str, Any]:
    """The nested shape of `ConfigSnapshot`: the adapter's settings, and beneath them the arguments."""
    quantized = _quantization(model)
    flags = {flag: True for flag in _BITS if quantized.get(flag) is True}
    settings = {**arguments.to_dict(), **flags}
    name = getattr(getattr(model, "config", None), "_name_or_path", None)
    below = snapshot.canonical({**_plain(settings), **({"model_name": name} if name else {})})
    return snapshot.fill(snapshot.canonical(_plain(adapter(model))), below)


def adapter(model: Any) -> dict[str, Any]:
    """PEFT's configuration of the active adapter; empty without one."""
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, Mapping) or not configs:
        return {}
    active = getattr(model, "active_adapter", None)
    chosen = configs.get(active) if isinstance(active, str) else None
    found = (chosen or next(iter(configs.values()))).to_dict()
    return {key: sorted(value) if isinstance(value, set) else value for key, value in found.items()}


def meta(arguments: Any, model: Any) -> dict[str, Any]:
    """What else tells one run from another: its directory and name, processes, parameters, quantisation."""
    found: dict[str, Any] = {
        "output_dir": str(arguments.output_dir),
        "world_size": arguments.world_size,
        "parameters": parameters(model),
    }
    if arguments.run_name and arguments.run_name != arguments.output_dir:
        found["run_name"] = arguments.run_name
    if quantization := quantized(model):
        found["quantization"] = quantization
    return found


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
