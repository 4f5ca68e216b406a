"""W&B's filters of runs: as much of MongoDB's query language as its documentation lists."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.integrations.wandb_double.held import TrackedRun

_TESTS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$eq": lambda found, wanted: wanted in found if isinstance(found, list) else bool(found == wanted),
    "$gt": lambda found, wanted: found is not None and bool(found > wanted),
    "$gte": lambda found, wanted: found is not None and bool(found >= wanted),
    "$lt": lambda found, wanted: found is not None and bool(found < wanted),
    "$lte": lambda found, wanted: found is not None and bool(found <= wanted),
    "$in": lambda found, wanted: any(_TESTS["$eq"](found, one) for one in wanted),
    "$exists": lambda found, wanted: (found is not None) == wanted,
    "$regex": lambda found, wanted: isinstance(found, str) and re.search(wanted, found) is not None,
}
_OPPOSITES: Final = {"$ne": "$eq", "$nin": "$in"}


def matches(run: TrackedRun, filters: Mapping[str, Any]) -> bool:
    """Whether a run is one that the filters ask for."""
    return all(_holds(run, key, wanted) for key, wanted in filters.items())


def _holds(run: TrackedRun, key: str, wanted: Any) -> bool:
    if key == "$and":
        return all(matches(run, one) for one in wanted)
    if key in ("$or", "$nor"):
        return any(matches(run, one) for one in wanted) == (key == "$or")
    found = _value(run, key)
    tests = wanted if isinstance(wanted, dict) else {"$eq": wanted}
    return all(_passes(found, test, value) for test, value in tests.items())


def _passes(found: Any, test: str, wanted: Any) -> bool:
    if test in _OPPOSITES:
        return not _TESTS[_OPPOSITES[test]](found, wanted)
    return _TESTS[test](found, wanted)


def _value(run: TrackedRun, key: str) -> Any:
    section, _, rest = key.partition(".")
    if section == "config":
        return _within(run.settings, rest.removesuffix(".value"))
    if section == "summary_metrics":
        return _within(run.summary, rest)
    fields = {"tags": run.tags, "name": run.id, "state": run.state, "group": run.group, "jobType": run.job_type}
    return {**fields, "display_name": run.name, "displayName": run.name}[key]


def _within(tree: Any, path: str) -> Any:
    """What stands at a dotted path, where a key may have dots itself."""
    if not isinstance(tree, dict):
        return None
    if path in tree:
        return tree[path]
    for key, below in tree.items():
        if path.startswith(f"{key}.") and (found := _within(below, path[len(key) + 1 :])) is not None:
            return found
    return None
