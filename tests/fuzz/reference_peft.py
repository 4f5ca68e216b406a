"""PEFT's rules, from its documentation and source: which update each pair of factors in a directory stands for."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from tests.fuzz import reference_file
from tests.fuzz.reference_file import UnknownError

PREFIX: Final = "base_model.model."
DECLARED: Final = (
    "gate_up_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)  # the order of the parameters in a layer of experts
CUT: Final = ("pissa", "olora", "corda", "loftq", "lora_ga")  # initialisations that cut a piece out of the base weights


class Update(msgspec.Struct):
    """One weight's update, scale * b @ a, both flattened to matrices."""

    name: str
    r: int
    alpha: float
    scale: float
    a: np.ndarray
    b: np.ndarray
    is_embedding: bool = False
    is_copy: bool = False  # of another weight's factors


def updates(folder: Path) -> list[Update]:
    """The updates of the adapter in `folder`."""
    config = _config(folder / "adapter_config.json")
    found = list(_updates(config, _factors(folder)))
    if str(config.get("init_lora_weights")).lower().startswith(CUT):
        before = {one.name: one for one in updates_before(folder)}
        if before.keys() != {one.name for one in found}:
            raise UnknownError("the start has other modules")
        found = [_difference(one, before[one.name]) for one in found]
    if config.get("ensure_weight_tying"):
        mirrored = {(one.r, one.b.shape[0], one.a.shape[1]) for one in found if one.is_embedding}
        for one in found:
            one.is_copy = (one.r, one.a.shape[1], one.b.shape[0]) in mirrored and not one.is_embedding
    return found


def updates_before(folder: Path) -> list[Update]:
    """Those of the adapter that training began with, where LLaMA-Factory keeps it."""
    if not (folder / "pissa_init" / "adapter_config.json").is_file():
        raise UnknownError("a piece was cut out of the base weights")
    config = _config(folder / "pissa_init" / "adapter_config.json")
    return list(_updates(config, _factors(folder / "pissa_init")))


def _difference(after: Update, before: Update) -> Update:
    if (after.r, after.scale, after.a.shape, after.b.shape) != (before.r, before.scale, before.a.shape, before.b.shape):
        raise UnknownError("the start does not fit")
    a, b = np.concatenate([after.a, before.a]), np.concatenate([after.b, -before.b], axis=1)
    return Update(after.name, after.r + before.r, after.alpha, after.scale, a, b)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnknownError(f"config: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") not in ("LORA", "ADALORA"):
        raise UnknownError("peft_type")
    return config


def _factors(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """A, B and perhaps E of each path; PEFT looks for safetensors first."""
    names = ("adapter_model.safetensors", "adapter_model.bin")
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise UnknownError("no weights")
    found: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for key, tensor in reference_file.factors(file).items():
        match = re.fullmatch(r"(.+)\.lora_(?:embedding_)?([ABE])(?:\.[^.]+)??(?:\.weight)?", key)
        if match and not key.endswith(".bias"):
            found[match[1].removeprefix(PREFIX)][match[2]] = tensor
            if ".lora_embedding_" in key:
                found[match[1].removeprefix(PREFIX)]["embedding"] = tensor
    if not found or any(not {"A", "B"} <= factors.keys() for factors in found.values()):
        raise UnknownError("no pairs, or half a pair")
    return found


def _updates(config: Mapping[str, Any], found: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[Update]:
    layers: dict[str, list[tuple[int, Mapping[str, np.ndarray]]]] = defaultdict(list)
    for path, factors in found.items():
        module = re.sub(r"(\.base_layer)+$", "", path)
        layers[module].append((len(path) - len(module), factors))
    for module, wrappers in layers.items():
        inwards = [factors for _, factors in sorted(wrappers, key=lambda one: one[0])]
        leaves = _leaves(config, module, len(inwards))
        if not leaves and len(inwards) == 1 and wrappers[0][0] == 0:
            yield from _whole(config, module, inwards[0])
        elif len(leaves) == len(inwards):
            for leaf, factors in zip(reversed(leaves), inwards, strict=True):
                yield from _experts(config, f"{module}.{leaf}", factors)
        else:
            raise UnknownError(f"{module}: {len(inwards)} wrappers, parameters {leaves}")


def _leaves(config: Mapping[str, Any], module: str, depth: int) -> list[str]:
    """The parameters of the module that are targeted, in the order of their declaration; none of a targeted layer."""
    layers = config.get("target_modules") or []
    if re.fullmatch(layers, module) if isinstance(layers, str) else any(f".{module}".endswith(f".{t}") for t in layers):
        return []
    targets = [target.rpartition(".") for target in config.get("target_parameters") or ()]
    named = {leaf for parent, _, leaf in targets if parent and f".{module}".endswith(f".{parent}")}
    found = named if len(named) == depth else named | {leaf for parent, _, leaf in targets if not parent}
    return sorted(found, key=lambda leaf: DECLARED.index(leaf) if leaf in DECLARED else 0)


def _whole(config: Mapping[str, Any], path: str, factors: Mapping[str, np.ndarray]) -> Iterator[Update]:
    """A linear layer, an embedding, a convolution; MultiheadAttention is looked up by its own name for both parts."""
    a, b = factors["A"], factors["B"]
    owner = path.removesuffix(".base_layer.out_proj")
    name = path.replace(".base_layer.out_proj", ".out_proj") if owner != path else path
    if config["peft_type"] == "ADALORA":
        alpha = float(config.get("lora_alpha", 8))  # it looks at no pattern
        r = a.shape[0]
        if factors.get("E", np.zeros(r + 1)).size != r or a.ndim != 2:
            raise UnknownError(f"{name}: no lora_E that fits")
        if r:
            scale = (alpha if alpha > 0 else r) / (config.get("init_r", 12) + 1e-5)
            yield Update(name, r, alpha, scale, a * factors["E"].reshape(r, 1), b)
        return
    r, alpha, scale = values(config, owner)
    if a.ndim < 2 or a.ndim != b.ndim or a.shape[0] != r or b.shape[1] != r or math.prod(b.shape[1:]) != r:
        raise UnknownError(f"{name}: shapes {a.shape} {b.shape} for r={r}")
    yield Update(name, r, alpha, scale, a.reshape(r, -1), b.reshape(-1, r), "embedding" in factors)


def _experts(config: Mapping[str, Any], name: str, factors: Mapping[str, np.ndarray]) -> Iterator[Update]:
    """The rows of A lie expert after expert; the columns of B rank after rank, unless Unsloth says otherwise."""
    a, b = factors["A"], factors["B"]
    r, alpha, scale = values(config, name)
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or a.shape[0] % r:
        raise UnknownError(f"{name}: shapes {a.shape} {b.shape} for r={r}")
    count = a.shape[0] // r
    by_expert = config.get("lora_B_layout") == "grouped_by_expert"
    for e in range(count):
        columns = b[:, e * r : (e + 1) * r] if by_expert else b[:, e::count]
        label = f"{name}[{e}]" if count > 1 else name
        yield Update(label, r, alpha, scale, a[e * r : (e + 1) * r], columns)


def values(config: Mapping[str, Any], name: str) -> tuple[int, float, float]:
    """Rank, alpha and scale of a module."""
    r = _looked_up(config.get("rank_pattern"), name, config.get("r", 8))
    alpha = float(_looked_up(config.get("alpha_pattern"), name, config.get("lora_alpha", 8)))
    return r, alpha, alpha / math.sqrt(r) if config.get("use_rslora") else alpha / r


def _looked_up(pattern: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    """The first key, in file order, that matches the end of the path as a regular expression."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", name):
            return value
    return (pattern or {}).get(name, default)
