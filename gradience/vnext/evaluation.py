"""Reading the metrics of an `eval` event, which people and their libraries write in many ways."""

import math
from typing import Any

from gradience.vnext.types import Eval, EvalMetrics

_NAMED = ("loss", "ppl", "accuracy")


def read(event: Eval, problems: list[str]) -> EvalMetrics:
    """The event's metrics by name; what is not as the contract says is kept, and told in `problems`."""
    extras = dict(event.metrics)
    numbers = {name: _number(name, extras.pop(name, None), problems) for name in _NAMED}
    count = _number("n", extras.pop("n", None), problems)
    _judge(numbers["ppl"], numbers["accuracy"], problems)
    return EvalMetrics(**numbers, n=_count(count, problems), step=event.step, extras=extras)


def _number(name: str, value: Any, problems: list[str]) -> float | None:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and _fits(value)):
        return value
    problems.append(f"metrics.{name} is {ascii(value)[:60]}: expected a number")
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _fits(value: float) -> bool:
    """Whether a float can hold it: a whole number of JSON may be larger than any."""
    return isinstance(value, float) or abs(value) < 1 << 1000


def _judge(ppl: float | None, accuracy: float | None, problems: list[str]) -> None:
    if ppl is not None and ppl <= 0:
        problems.append(f"metrics.ppl is {ppl}: a perplexity is positive")
    if accuracy is not None and math.isfinite(accuracy) and not 0 <= accuracy <= 1:
        problems.append(f"metrics.accuracy is {accuracy}: expected 0 to 1")


def _count(value: float | None, problems: list[str]) -> int | None:
    if value is None:
        return None
    if not math.isfinite(value) or value < 0 or value != int(value):
        problems.append(f"metrics.n is {value}: expected a count of examples")
        return None
    return int(value)
