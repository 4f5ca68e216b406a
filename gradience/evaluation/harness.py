"""The result files of lm-evaluation-harness: `results_*.json`, and `samples_*.jsonl` where --log_samples wrote them.

    {"results": {"hellaswag": {"alias": "hellaswag", "acc,none": 0.41, "acc_stderr,none": 0.0049}},
     "higher_is_better": {"hellaswag": {"acc": true}},
     "n-samples": {"hellaswag": {"original": 10042, "effective": 10042}}, ...}

Read from lm_eval/evaluator_utils.py and loggers/evaluation_tracker.py of release 0.4.13.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from gradience.evaluation.measure import Measure, Measures


def is_result(document: Mapping[str, Any]) -> bool:
    """Whether an object is such a result."""
    results = document.get("results")
    if not isinstance(results, Mapping):
        return False
    return any(isinstance(task, Mapping) and any("," in str(key) for key in task) for task in results.values())


def measures(document: Mapping[str, Any]) -> Measures:
    """The metrics of every task and group, as `<task>/<metric>,<filter>`."""
    return {
        f"{task}/{key}": _measure(document, task, key, numbers)
        for task, numbers in document["results"].items()
        if isinstance(numbers, Mapping)
        for key, value in numbers.items()
        if "," in key and not _metric(key).endswith("_stderr") and isinstance(value, int | float)
    }


def with_samples(found: Measures, task: str, samples: Iterable[Mapping[str, Any]]) -> Measures:
    """The same with the values of single examples, in the order of the documents, where they make up the metric."""
    lines = sorted(samples, key=lambda line: (str(line.get("filter")), _order(line)))
    return {name: _sampled(measure, name, task, lines) for name, measure in found.items()}


def task_of(file_name: str) -> str:
    """The task of `samples_<task>_<date>.jsonl`."""
    return file_name.removeprefix("samples_").rpartition("_")[0]


def _measure(document: Mapping[str, Any], task: str, key: str, numbers: Mapping[str, Any]) -> Measure:
    metric, _, kind = key.partition(",")
    stderr = numbers.get(f"{metric}_stderr,{kind}")  # "N/A" where it has none
    count = _at(document, "n-samples", task, "effective")
    better = _at(document, "higher_is_better", task, metric)
    return Measure(
        value=float(numbers[key]),
        stderr=float(stderr) if isinstance(stderr, int | float) and math.isfinite(stderr) else None,
        n=count if isinstance(count, int) and count > 0 else None,
        higher_is_better=better if isinstance(better, bool) else None,
    )


def _sampled(measure: Measure, name: str, task: str, lines: Iterable[Mapping[str, Any]]) -> Measure:
    of_task, _, key = name.partition("/")
    if of_task != task:
        return measure
    values = tuple(_values(lines, *key.split(",", 1)))
    is_mean = len(values) > 1 and math.isclose(math.fsum(values) / len(values), measure.value, abs_tol=1e-6)
    return msgspec.structs.replace(measure, examples=values) if is_mean else measure


def _values(lines: Iterable[Mapping[str, Any]], metric: str, kind: str) -> Iterator[float]:
    for line in lines:
        value = line.get(metric)
        if line.get("filter", "none") == kind and isinstance(value, int | float) and math.isfinite(value):
            yield float(value)


def _order(line: Mapping[str, Any]) -> int:
    number = line.get("doc_id")
    return number if isinstance(number, int) else 0


def _metric(key: str) -> str:
    return key.partition(",")[0]


def _at(tree: Any, *path: str) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree
