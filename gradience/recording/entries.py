"""What a training loop logs under names of its own, as events: pure.

Loops name things as they like; what is read here are the names that most of them use. A name that says nothing to us
is kept as it is.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

_TRAINING: Final = re.compile(r"^(?:train|training)[/_]")
_EVALUATION: Final = re.compile(r"^(?P<split>val|valid|validation|eval|evaluation|dev|test)[/_](?P<metric>.+)$")
_LOADER: Final = re.compile(r"/dataloader_idx_(?P<number>\d+)$")  # of several validation sets in Lightning
_NAMES: Final = {"acc": "accuracy", "perplexity": "ppl", "learning_rate": "lr", "gradient_norm": "grad_norm"}
_NORM: Final = re.compile(r"^grad_\d+(?:\.\d+)?_norm_total$")  # of Lightning's `grad_norm`
_OWN: Final = ("loss", "lr", "grad_norm")
RESERVED: Final = frozenset({"schema", "ts", "run_id", "event", "step"})


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What of it is a number: tensors and numpy's scalars too, but nothing of several elements."""
    return {key: number for key, value in values.items() if (number := _number(value)) is not None}


def training(values: Mapping[str, float]) -> dict[str, float]:
    """Of what was logged in a training step: loss, learning rate and gradient norm by our names, the rest by its own.

    What belongs to an evaluation is not in it.
    """
    found: dict[str, float] = {}
    for key, value in values.items():
        if _EVALUATION.match(key) or key in RESERVED:
            continue
        name = _known(_TRAINING.sub("", key).removesuffix("_step"))
        found.setdefault(name if name in _OWN else key, value)
    return found


def evaluations(values: Mapping[str, float], split: str | None = None) -> dict[str, dict[str, float]]:
    """The metrics of evaluations by the name of their set, `split` being that of what does not say.

    Without it, what does not say belongs to no evaluation.
    """
    found: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        loader = _LOADER.search(key)
        name = key[: loader.start()] if loader else key
        told = _EVALUATION.match(name)
        of = told["split"] if told else split
        if of is not None and key not in ("epoch", *RESERVED):
            metric = _known((told["metric"] if told else name).removesuffix("_epoch"))
            found.setdefault(f"{of}_{loader['number']}" if loader else of, {})[metric] = value
    return found


def _known(name: str) -> str:
    return "grad_norm" if _NORM.match(name) else _NAMES.get(name, name)


def _number(value: Any) -> float | None:
    if isinstance(value, bool | str | bytes):
        return None
    if isinstance(value, int | float):
        return value
    try:
        return float(value.item())  # of a tensor or an array: one element
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None
