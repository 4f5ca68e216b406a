"""The one order of tables: numbers from the largest, text from a; a `-` before the key turns it round."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

_T = TypeVar("_T")


def by(key: str, rows: Iterable[_T], value: Callable[[_T, str], Any]) -> list[_T]:
    """The rows by what `value` says they have under `key`; what is not known stands last, whichever way round."""
    column, turned = key.removeprefix("-"), key.startswith("-")
    found = [(value(row, column), row) for row in rows]
    known = [(cell, row) for cell, row in found if cell is not None]
    falls = not any(isinstance(cell, str) for cell, _ in known)
    known.sort(key=lambda pair: pair[0], reverse=falls != turned)
    return [*(row for _, row in known), *(row for cell, row in found if cell is None)]
