"""What an adapter's update is, worked out the slow and obvious way: every product formed whole and decomposed densely.

Nothing here is the auditor's: the config is read by the standard library's JSON, the weights by the safetensors library
or by torch, and the rules are PEFT's as its documentation and source state them. The products are formed in numpy's
longdouble, so that neither rounding nor the range of float64 is an issue.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from tests.fuzz import reference_file
from tests.fuzz.reference_file import UnknownError

PREFIX: Final = "base_model.model."
EPS: Final = float(np.finfo(np.float64).eps)


class Expected(msgspec.Struct):
    """One module. `sigma` are the singular values, `error` how far the reference itself may be off."""

    r: int
    alpha: float
    scale: float
    out: int
    into: int
    sigma: list[float]
    error: float


def expected(folder: Path) -> dict[str, Expected]:
    """The modules of the adapter in `folder` by path."""
    config = _config(folder / "adapter_config.json")
    pairs = _pairs(reference_file.factors(_weights(folder)))
    if not pairs:
        raise UnknownError("no pairs")
    return {name: _module(config, name, *pair) for name, pair in pairs.items()}


def _weights(folder: Path) -> Path:
    """PEFT looks for safetensors first."""
    names = ("adapter_model.safetensors", "adapter_model.bin")
    return next(folder / name for name in names if (folder / name).is_file())


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnknownError(f"config: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise UnknownError("peft_type")
    return config


def _pairs(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A and B by module path; the adapter's name may stand in the keys, and the prefix may be missing."""
    sides: dict[str, dict[str, np.ndarray]] = {}
    for key, tensor in tensors.items():
        if match := re.fullmatch(r"(.+)\.lora_([AB])(?:\.[^.]+)?\.weight", key):
            sides.setdefault(match[1].removeprefix(PREFIX), {})[match[2]] = tensor
    if any(len(pair) != 2 for pair in sides.values()):
        raise UnknownError("half a pair")
    return {name: (pair["A"], pair["B"]) for name, pair in sides.items()}


def _module(config: Mapping[str, Any], name: str, a: np.ndarray, b: np.ndarray) -> Expected:
    r = _looked_up(config.get("rank_pattern"), name, config.get("r", 8))
    alpha = float(_looked_up(config.get("alpha_pattern"), name, config.get("lora_alpha", 8)))
    scale = alpha / math.sqrt(r) if config.get("use_rslora") else alpha / r
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != r or b.shape[1] != r:
        raise UnknownError(f"{name}: shapes {a.shape} {b.shape} for r={r}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UnknownError(f"{name}: not finite")
    sigma, error = _spectrum(np.longdouble(scale), a, b)
    return Expected(r, alpha, scale, b.shape[0], a.shape[1], [*sigma, *[0.0] * (r - len(sigma))][:r], error)


def _looked_up(pattern: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    """PEFT's rule: the first key, in file order, that matches the end of the path as a regular expression."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", name):
            return value
    return (pattern or {}).get(name, default)


def _spectrum(scale: np.longdouble, a: np.ndarray, b: np.ndarray) -> tuple[list[float], float]:
    """Singular values of scale * B @ A, and how far rounding may have moved them.

    Factors as large as float64 allows have a product that only longdouble holds; it is brought to 1 for the SVD.
    """
    delta = b @ a
    largest = np.abs(delta).max()
    if not largest:
        return [], 0.0
    unit = np.linalg.svd((delta / largest).astype(np.float64), compute_uv=False)
    factor = np.abs(scale) * largest
    with np.errstate(over="ignore"):
        sigma = [float(value) for value in (unit.astype(np.longdouble) * factor)]
        error = float(8 * EPS * math.sqrt(max(delta.shape)) * unit[0] * factor)
    if not math.isfinite(sigma[0]):
        raise UnknownError("the update overflows float64")
    return sigma, error + 4 * float(np.finfo(np.float64).smallest_subnormal)
