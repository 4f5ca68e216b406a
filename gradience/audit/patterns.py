r"""PEFT's lookup of a rank or an alpha: the first key of the file with `re.match(rf"(.*\.)?({key})$", name)`.

Adapters that name every module by its full path are common, so plain keys are found by table; only true regular
expressions are tried one after another. Both give what PEFT gives when it loads the file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradience.audit.refusal import listed, quoted, refuse

_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")  # to a regular expression these are literal, but for the dot: any character


class Lookup:
    """The keys of one pattern dictionary.

    Raises:
        re.error: a key is no regular expression; PEFT cannot load it either.
    """

    def __init__(self, keys: Mapping[str, object]) -> None:
        self._order = {key: place for place, key in enumerate(keys)}
        self._plain: dict[tuple[int, ...], set[str]] = {}
        self._regexes: list[tuple[str, re.Pattern[str]]] = []
        for key in keys:
            if _PLAIN.fullmatch(key):
                self._plain.setdefault(_signature(key), set()).add(key)
            else:
                self._regexes.append((key, re.compile(rf"(.*\.)?({key})$")))

    def matches(self, name: str) -> list[str]:
        """Every key that matches the module, in file order: PEFT takes the first."""
        found = [key for signature, keys in self._plain.items() if (key := _shaped(name, signature)) in keys]
        found += [key for key, regex in self._regexes if regex.match(name)]
        if not found and name in self._order:
            return [name]
        return sorted(found, key=self._order.__getitem__)


class Values:
    """One pattern dictionary at work: the value of each module, and what is odd about the keys."""

    def __init__(self, path: Path, field: str, values: Mapping[str, Any], default: float) -> None:
        self._field, self._values, self._default = field, values, default
        self._unmatched = dict.fromkeys(values)
        self._overlaps: list[str] = []
        try:
            self._lookup = Lookup(values)
        except re.error as error:
            wrong = f"{field} has the key {quoted(error.pattern)}, which is no regular expression"
            raise refuse(path, wrong, "mend the config; PEFT cannot load it") from error

    def of(self, name: str) -> Any:
        """The module's value: that of the first key in the file that matches it, as PEFT looks it up on loading."""
        matches = self._lookup.matches(name)
        for key in matches:
            self._unmatched.pop(key, None)
        if len({self._values[key] for key in matches}) > 1:
            self._overlaps.append(name)
        return self._values[matches[0]] if matches else self._default

    def issues(self) -> list[str]:
        """Keys whose order decides, and keys that decide nothing."""
        found = []
        if self._overlaps:
            found.append(
                f"pattern_overlap: several keys of {self._field} match modules ({listed(self._overlaps)}); the first in"
                " the file wins on loading, which may differ from training"
            )
        if self._unmatched:
            found.append(f"pattern_unmatched: keys of {self._field} match no module ({listed(list(self._unmatched))})")
        return found


def _signature(key: str) -> tuple[int, ...]:
    """Length and places of the dots: keys that share it are told apart by one look into a table."""
    return (len(key), *(place for place, char in enumerate(key) if char == "."))


def _shaped(name: str, signature: tuple[int, ...]) -> str:
    """The tail of `name` as a key of this signature would match it; empty when no such key can."""
    length, *dots = signature
    if len(name) < length or (len(name) > length and name[-length - 1] != "."):
        return ""
    tail = list(name[-length:])
    for place in dots:
        tail[place] = "."
    return "".join(tail)
