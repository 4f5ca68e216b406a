"""The rules of diffusers, kohya and mlx-lm, as each documents its own layout."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.fuzz import reference_file, reference_peft
from tests.fuzz.reference_file import UnknownError
from tests.fuzz.reference_peft import Update

COMPONENTS: Final = (
    ("lora_unet_", "unet_"),
    ("lora_te2_", "text_encoder_2_"),
    ("lora_te3_", "text_encoder_3_"),
    ("lora_te1_", "text_encoder_"),
    ("lora_te_", "text_encoder_"),
    ("lora_transformer_", "transformer_"),
)


def updates(weights: Path) -> list[Update]:
    """The updates of the adapter in a file of one of these layouts."""
    tensors = reference_file.factors(weights)
    if any(re.search(r"\.lora_(down|up)\.weight$", key) for key in tensors):
        return list(_kohya(tensors))
    if any(re.search(r"\.lora_[ab]$", key) for key in tensors):
        return list(_mlx(weights, tensors))
    return list(_diffusers(weights, tensors))


def plain(name: str) -> str:
    """A name without the difference between dots and underscores, which kohya does not make."""
    return name.replace(".", "_")


def _kohya(tensors: Mapping[str, np.ndarray]) -> Iterator[Update]:
    """Alpha / r; without an alpha, or with 0, the scale is 1."""
    for name, factors in _sides(tensors, r"(.+)\.lora_(down|up)\.weight", down="down").items():
        a, b = factors
        r = a.shape[0]
        alpha = _scalar(tensors.get(f"{name}.alpha")) or float(r)
        prefix = next((pair for pair in COMPONENTS if name.startswith(pair[0])), ("", ""))
        yield _update(plain(prefix[1] + name.removeprefix(prefix[0])), r, alpha, alpha / r, a, b)


def _diffusers(weights: Path, tensors: Mapping[str, np.ndarray]) -> Iterator[Update]:
    """PEFT's settings of each component in the metadata, else an alpha for each module, else the scale 1."""
    said = json.loads(reference_file.metadata(weights).get("lora_adapter_metadata", "{}"))
    pattern = r"([a-z]\w*\..+?)(?:\.lora_linear_layer\.|[._]lora[._])(A|B|down|up)\.weight"
    for name, (a, b) in _sides(tensors, pattern, down="A", or_down="down").items():
        module, r = name.replace(".processor.", "."), a.shape[0]
        if said:
            component, _, path = module.partition(".")
            prefix = f"{component}."
            config = {key.removeprefix(prefix): value for key, value in said.items() if key.startswith(prefix)}
            if not config:
                raise UnknownError(f"no settings for {component}")
            r, alpha, scale = reference_peft.values(config, path)
        else:
            alpha = _scalar(tensors.get(f"{name}.alpha", np.full((), r)))
            scale = alpha / r
        yield _update(plain(module), r, alpha, scale, a, b)


def _mlx(weights: Path, tensors: Mapping[str, np.ndarray]) -> Iterator[Update]:
    """The scale as it is; lora_a is (in, r) and lora_b (r, out)."""
    try:
        config = json.loads((weights.parent / "adapter_config.json").read_bytes())
        rank, scale = config["lora_parameters"]["rank"], float(config["lora_parameters"]["scale"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UnknownError(f"config: {error}") from error
    for name, (a, b) in _sides(tensors, r"(.+)\.lora_([ab])", down="a").items():
        yield _update(plain(name), rank, scale * rank, scale, a.T, b.T)


def _sides(
    tensors: Mapping[str, np.ndarray], pattern: str, *, down: str, or_down: str = ""
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found: dict[str, dict[bool, np.ndarray]] = defaultdict(dict)
    for key, tensor in tensors.items():
        if match := re.fullmatch(pattern, key):
            found[match[1]][match[2] in (down, or_down)] = tensor
    if not found or any(len(pair) < 2 for pair in found.values()):
        raise UnknownError("no pairs, or half a pair")
    return {name: (pair[True], pair[False]) for name, pair in found.items()}


def _update(name: str, r: int, alpha: float, scale: float, a: np.ndarray, b: np.ndarray) -> Update:
    if a.ndim < 2 or a.ndim != b.ndim or a.shape[0] != r or b.shape[1] != r or math.prod(b.shape[2:]) != 1:
        raise UnknownError(f"{name}: shapes {a.shape} {b.shape} for r={r}")
    return Update(name, r, alpha, scale, a.reshape(r, -1), b.reshape(-1, r))


def _scalar(value: Any) -> float:
    if value is not None and value.size != 1:
        raise UnknownError("an alpha that is no number")
    return 0.0 if value is None else float(value.reshape(()))
