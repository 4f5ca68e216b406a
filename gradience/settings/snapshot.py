"""A mapping from somebody's file as a `ConfigSnapshot`.

Two shapes are read: the nested one of our own `run_start.config`, and the flat one that training tools write. What has
no field of its own is kept in `training.extras` (or `lora.extras`, where it belongs to the adapter), if it is small.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gradience.settings import fields
from gradience.vnext.types import ConfigSnapshot

SCALARS: Final = (str, int, float, bool)
ITEMS_KEPT: Final = 64


def snapshot(settings: Mapping[str, Any]) -> ConfigSnapshot:
    """Read settings of either shape. Never raises: a value that does not fit its field goes to the extras."""
    return ConfigSnapshot.from_dict(canonical(settings))


def canonical(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The nested shape of `ConfigSnapshot`, still as plain values, so that sources can be laid over each other."""
    if any(isinstance(settings.get(part), Mapping) for part in ("optimizer", "lora", "training")):
        return {key: _listed(value) if key == "lora" else value for key, value in settings.items()}
    return _flat(settings)


def fill(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """`first`, with what it lacks (absent, None, empty, "unknown") taken from `second`, at every depth."""
    filled = dict(first)
    for key, value in second.items():
        mine = filled.get(key)
        if isinstance(mine, Mapping) and isinstance(value, Mapping):
            filled[key] = fill(mine, value)
        elif mine is None or mine in ("", "unknown") or mine == []:
            filled[key] = value
    return filled


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    taken: set[str] = set()
    lora = _pick(settings, fields.LORA, taken)
    lora["extras"] = _pick(settings, fields.LORA_EXTRAS, taken)
    optimizer = _pick(settings, fields.OPTIMIZER, taken)
    training = _pick(settings, fields.TRAINING, taken)
    training["extras"] = _pick(settings, fields.TRAINING_RENAMED, taken)
    top = {
        "model_name": _first(settings, fields.MODEL, taken),
        "dataset_name": _first(settings, fields.DATASET, taken),
        "task_profile": _first(settings, fields.PROFILE, taken),
    }
    training["extras"].update({key: value for key, value in settings.items() if key not in taken and _is_small(value)})
    _mend_training(training)
    return {**top, "optimizer": _betas(optimizer, settings), "lora": _listed(lora), "training": training}


def _pick(settings: Mapping[str, Any], names: Mapping[str, Sequence[str]], taken: set[str]) -> dict[str, Any]:
    picked = {field: _first(settings, aliases, taken) for field, aliases in names.items()}
    return {field: value for field, value in picked.items() if value is not None}


def _first(settings: Mapping[str, Any], names: Sequence[str], taken: set[str]) -> Any:
    given = [name for name in names if settings.get(name) is not None]
    taken.update(given)
    return settings[given[0]] if given else None


def _listed(lora: Any) -> Any:
    """`target_modules` as a list: "q_proj,v_proj" and "q_proj v_proj" are two names; a regex stays one."""
    if not isinstance(lora, Mapping) or not isinstance(lora.get("target_modules"), str):
        return lora
    targets = lora["target_modules"]
    is_names = not set(targets) & set("\\()[]|*+?^$")
    return {**lora, "target_modules": targets.replace(",", " ").split() if is_names else [targets]}


def _betas(optimizer: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    first, second = settings.get("adam_beta1"), settings.get("adam_beta2")
    return optimizer if first is None or second is None else {**optimizer, "betas": (first, second)}


def _mend_training(training: dict[str, Any]) -> None:
    # transformers writes -1 for "not given", and says the compute type in two flags.
    if training.get("max_steps") in (-1, "-1"):
        del training["max_steps"]
    extras = training["extras"]
    flagged = "bfloat16" if extras.get("bf16") is True else "float16" if extras.get("fp16") is True else None
    if flagged and "dtype" not in training:
        training["dtype"] = flagged


def _is_small(value: object) -> bool:
    if isinstance(value, list):
        return len(value) <= ITEMS_KEPT and all(isinstance(item, SCALARS) for item in value)
    return isinstance(value, SCALARS)
