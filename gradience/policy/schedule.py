"""The learning rates of all steps of a run, added up: what the schedules of transformers make of the highest one."""

import math
from collections.abc import Mapping
from typing import Any, Final

_FALLING: Final = ("linear", "cosine")  # to zero at the last step: both have the same sum
_NAMES: Final = ("lr_scheduler_type", "lr_scheduler")  # transformers', axolotl's


def full_steps(steps: int, training: Mapping[str, Any]) -> float:
    """How many steps at the highest learning rate have the same sum: no run of another schedule has more than `steps`.

    With w steps of warm-up and n = steps - w after it, transformers' multipliers are i / w for i < w, which add up to
    (w - 1) / 2, and then 1 (constant), 1 - i / n (linear) or (1 + cos(pi * i / n)) / 2 (cosine) for i < n: n, or
    (n + 1) / 2 for both of the others.
    """
    name = next((str(training[name]) for name in _NAMES if training.get(name)), "")
    kind = name.lower().rpartition(".")[2]
    if kind not in (*_FALLING, "constant", "constant_with_warmup"):
        return steps
    warmup = 0 if kind == "constant" else _warmup(steps, training)
    rising = min(warmup, steps)
    after = steps - rising
    risen = rising * (rising - 1) / (2 * warmup) if warmup else 0.0
    return risen + ((after + 1) / 2 if after and kind in _FALLING else after)


def _warmup(steps: int, training: Mapping[str, Any]) -> int:
    """Steps, or a share of them: `warmup_steps` below 1 is one too, and wins over `warmup_ratio`."""
    told = [_number(training.get(name)) for name in ("warmup_steps", "warmup_ratio")]
    given = next((one for one in told if one), 0.0)
    return math.ceil(given * steps) if given < 1 else int(given)


def _number(given: Any) -> float:
    """As a number that is finite and not negative; 0 for anything else."""
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if 0 < number < math.inf else 0.0
