"""NaN and the infinities beside strict JSON: the value stands as null and a side field names it by JSON Pointer.

Null is the one form that every common JSONL reader takes in a numeric column; the side field keeps what was measured.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

SIDE_FIELD: Final = "nonfinite"
VALUES: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def name(number: float) -> str:
    """How the side field spells a number that is not finite."""
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def below(pointer: str, key: str) -> str:
    """The JSON Pointer (RFC 6901) of a member of the object at `pointer`."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}" if "~" in key or "/" in key else f"{pointer}/{key}"


def restore(fields: dict[str, Any]) -> None:
    """Put the numbers that the side field names back in place; only a null is ever replaced."""
    named = fields.get(SIDE_FIELD)
    if not isinstance(named, dict):
        return
    for pointer, spelling in named.items():
        if spelling in VALUES:
            _put(fields, pointer, VALUES[spelling])


def find(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Pointer and spelling of every non-finite number, for files of the public releases that write them bare."""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield pointer, name(value)
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from find(member, below(pointer, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from find(member, f"{pointer}/{index}")


def _put(fields: dict[str, Any], pointer: str, number: float) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]] or [""]
    holder: Any = fields
    try:
        for part in parents:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        place = int(last) if isinstance(holder, list) else last
        if holder[place] is None:
            holder[place] = number
    except (KeyError, IndexError, ValueError, TypeError):
        return  # the side field names a place that is not there: nothing to restore
