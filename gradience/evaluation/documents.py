"""Numbers in a JSON object that a script prints or writes, whatever else it says."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gradience.evaluation import harness
from gradience.evaluation.measure import Measure, Measures

COUNTS: Final = ("n", "num_examples", "num_samples", "n_samples", "total", "count", "samples")
SPLITS: Final = ("eval_", "test_", "val_", "validation_")  # what the Trainer and others put before a metric's name
EXAMPLES: Final = ("examples", "correct", "per_example", "scores")
_ERRORS: Final = ("_stderr", "_se", "_std_err", "_standard_error")
_NOTHING: Final = frozenset(
    (*COUNTS, *(f"{split}{count}" for split in SPLITS for count in COUNTS), "step", "epoch", "seed", "stderr")
)
_ATTEMPTS: Final = 5000  # braces to be tried in text that is no JSON; a pretty-printed object needs two
_SAME: Final = 1e-4  # relative: values are printed with some digits only


def last_object(text: str) -> dict[str, Any] | None:
    """The last JSON object in a text, whatever stands before, beside and after it; None where there is none."""
    return _on_last_line(text) or _over_lines(text) or _searched(text)


def measures(document: Mapping[str, Any]) -> Measures:
    """Every number of an object by its path; counts, standard errors and values of single examples go to the metrics.

    The result of lm-evaluation-harness is recognised.
    """
    if harness.is_result(document):
        return harness.measures(document)
    return dict(_measures("", document))


def _on_last_line(text: str) -> dict[str, Any] | None:
    """Most scripts print one line; a progress bar may have been drawn over it before."""
    return _object(re.split(r"[\r\n]+", text.rstrip())[-1].strip())


def _over_lines(text: str) -> dict[str, Any] | None:
    """Indented JSON has its first brace at the beginning of a line."""
    start = 0 if text.startswith("{") and "\n{" not in text else text.rfind("\n{") + 1
    return _object(text[start : text.rfind("}") + 1])


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _searched(text: str) -> dict[str, Any] | None:
    """By the closing braces from the last one on: the first that an object ends with."""
    decoder, attempts = json.JSONDecoder(), 0
    end = text.rfind("}")
    while end >= 0 and attempts < _ATTEMPTS:
        start = text.rfind("{", 0, end)
        while start >= 0 and attempts < _ATTEMPTS:
            attempts += 1
            try:
                found, stop = decoder.raw_decode(text, start)
            except (ValueError, RecursionError):
                stop = -1
            if stop == end + 1:
                return dict(found)
            start = text.rfind("{", 0, start)
        end = text.rfind("}", 0, end)
    return None


def _measures(path: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Measure]]:
    for key, value in tree.items():
        name = f"{path}/{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _measures(name, value)
        elif _is_number(value) and key not in _NOTHING and not key.endswith(_ERRORS):
            yield name, _measure(key, float(value), tree)


def _measure(key: str, value: float, beside: Mapping[str, Any]) -> Measure:
    errors = [beside[name] for name in (*(f"{key}{end}" for end in _ERRORS), "stderr") if _is_number(beside.get(name))]
    split = next((split for split in SPLITS if key.startswith(split)), "")
    counts = [beside[name] for count in COUNTS for name in (count, f"{split}{count}") if _is_count(beside.get(name))]
    return Measure(
        value=value,
        stderr=float(errors[0]) if errors and math.isfinite(errors[0]) else None,
        n=counts[0] if counts else None,
        examples=_examples(key, value, beside),
    )


def _examples(key: str, value: float, beside: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The values of single examples: a list whose mean is the metric."""
    for name in (f"{key}_per_example", f"{key}_examples", *EXAMPLES):
        listed = beside.get(name)
        if isinstance(listed, list) and len(listed) > 1 and all(map(_is_countable, listed)):
            found = tuple(map(float, listed))
            if math.isclose(math.fsum(found) / len(found), value, rel_tol=_SAME, abs_tol=_SAME):
                return found
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_countable(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
