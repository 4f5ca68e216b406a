"""Files of training tools that mean more than they say: their names for things, and what holds where they are silent.

A tool is known by the keys that only its files have; what it leaves out and what its words stand for is put in, under
the names that `fields` knows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

AXOLOTL: Final = "axolotl"
LLAMA_FACTORY: Final = "LLaMA-Factory"
TRL: Final = "TRL"
MLX: Final = "mlx-lm"

_TELL_TALE: Final[Mapping[str, Sequence[str]]] = {  # one of these keys, or two that others do not have together
    MLX: ("lora_parameters", "fine_tune_type"),
    LLAMA_FACTORY: ("finetuning_type", "lora_target", "stage template", "dataset_dir template"),
    AXOLOTL: (
        "lora_target_linear", "base_model_config", "base_model datasets", "base_model micro_batch_size",
        "base_model sequence_len",
    ),
    TRL: ("use_peft", "script_args"),
}  # fmt: skip
ALL_LINEAR: Final = "all-linear"
_PREFERENCE: Final = ("dpo", "kto", "orpo", "simpo", "ipo")


def recognise(settings: Mapping[str, Any]) -> str | None:
    """The tool that a file of settings is for; None where no key tells."""
    told = (tool for tool, signs in _TELL_TALE.items() if any(settings.keys() >= set(sign.split()) for sign in signs))
    return next(told, None)


def translated(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under common names, what their tool assumes put in; as they are where no tool is recognised."""
    tool = recognise(settings)
    given = {key: value for key, value in settings.items() if value != "auto"}  # DeepSpeed fills these in later
    return given if tool is None else {**given, **_TRANSLATE[tool](given), "tool": tool}


def _axolotl(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if given.get("adapter") == "qlora":
        found["load_in_4bit"] = given.get("load_in_4bit", True)
    if given.get("lora_target_linear") is True and not given.get("lora_target_modules"):
        found["target_modules"] = ALL_LINEAR
    if "datasets" in given:
        found["dataset"] = _first_path(given["datasets"])
    if "val_set_size" not in given and not given.get("test_datasets"):
        found["val_set_size"] = 0.0  # axolotl's default: nothing is held out
    return found


def _llama_factory(given: Mapping[str, Any]) -> dict[str, Any]:
    if given.get("finetuning_type", "lora") != "lora":
        return {}
    rank = given.get("lora_rank", 8)
    found = {"lora_rank": rank, "lora_alpha": given.get("lora_alpha", _twice(rank))}
    target = given.get("lora_target", "all")
    found["lora_target"] = ALL_LINEAR if target == "all" else target
    if given.get("quantization_bit") in (4, 8, "4", "8"):
        found[f"load_in_{given['quantization_bit']}bit"] = True
    if given.get("pissa_init") is True:
        found["init_lora_weights"] = "pissa"
    return found


def _trl(given: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05}
    return {name: given.get(name, value) for name, value in defaults.items()} if given.get("use_peft") else {}


def _mlx(given: Mapping[str, Any]) -> dict[str, Any]:
    inner = given.get("lora_parameters")
    said = inner if isinstance(inner, Mapping) else {}
    rank, scale = said.get("rank", 8), said.get("scale", 20.0)
    is_number = isinstance(rank, int) and isinstance(scale, int | float)
    return {
        "r": rank,
        "lora_alpha": scale * rank if is_number else None,  # its scale is not divided by the rank
        "lora_dropout": said.get("dropout"),
        "target_modules": said.get("keys"),
        "max_steps": given.get("iters"),
    }


def _first_path(datasets: Any) -> str | None:
    first = datasets[0] if isinstance(datasets, list) and datasets else None
    path = first.get("path") if isinstance(first, Mapping) else None
    return path if isinstance(path, str) else None


def _twice(rank: Any) -> Any:
    try:
        return 2 * int(rank)
    except (TypeError, ValueError):
        return None


_TRANSLATE: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    AXOLOTL: _axolotl,
    LLAMA_FACTORY: _llama_factory,
    TRL: _trl,
    MLX: _mlx,
}
