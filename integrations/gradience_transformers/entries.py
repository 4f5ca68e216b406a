"""What a Trainer logs, as events: pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gradience.history import trainer_state

SUMMARY: Final = "training"  # the kind of what is logged once, at the end
OTHER: Final = "logged"  # the kind of what says nothing to us
_OWN: Final = ("loss", "learning_rate", "grad_norm")
_SUMMARY_SIGN: Final = "train_runtime"


def events(logs: Mapping[str, Any], step: int) -> Iterator[dict[str, Any]]:
    """The events of one entry: a step with all that was logged beside its loss, evaluations by split, or others."""
    numbers = {key: value for key, value in logs.items() if _is_number(value)}
    evaluations = trainer_state.evaluations(numbers)
    for split, metrics in evaluations.items():
        yield {"event": "eval", "step": step, "split": split, "metrics": metrics}
    rest = {key: value for key, value in numbers.items() if not key.startswith("eval_") and key not in _OWN}
    if _SUMMARY_SIGN in numbers:
        told = {key.removeprefix("train_"): value for key, value in rest.items() if key != "epoch"}
        yield {"event": "metrics", "step": step, "kind": SUMMARY, "metrics": told}
    elif trained := trainer_state.training(numbers):
        yield {"event": "train_step", "step": step, **rest, **trained}
    elif not evaluations and rest.keys() - {"epoch"}:
        yield {"event": "metrics", "step": step, "kind": OTHER, "metrics": rest}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
