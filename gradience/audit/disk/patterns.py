r"""PEFT's lookup of a rank or an alpha: the first key of the file with `re.match(rf"(.*\.)?({key})$", name)`.

Adapters that name every module by its full path are common, so plain keys are found by table; only true regular
expressions are tried, where they can be stopped. Both give what PEFT gives when it loads the file.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gradience.audit.disk import expressions
from gradience.audit.disk.expressions import BrokenError
from gradience.audit.refusal import listed, quoted, refuse
from gradience.errors import AdapterError

# To a regular expression these are literal, but for the dot that is not escaped: any character.
_PLAIN = re.compile(r"(\^?)((?:[A-Za-z0-9_.-]|\\[.-])+)\$?")
_BEFORE, _AFTER = r"(.*\.)?(", ")$"
_CROWD = 64  # forms of keys of one length; an adapter whose keys are paths has a few, and each costs every lookup
_LITERAL = re.compile(r"[A-Za-z0-9_.-]+")  # what a path is made of, and a regular expression takes as it is
_WORK = 100_000_000  # characters compared with those of plain keys: two seconds
_LIMIT_S = 1.5  # for all regular expressions of one dictionary; PEFT would hang


V = TypeVar("V")


class _Form(msgspec.Struct, frozen=True):
    """What plain keys that are told apart by one look into a table share: the places where any character matches."""

    anchored: bool
    length: int
    wild: tuple[int, ...]

    def shaped(self, name: str) -> str:
        """The tail of `name` as the text of a key of this form would match it; empty when no such key can."""
        if self.anchored and len(name) > self.length:
            return ""
        tail = list(name[-self.length :])
        for place in self.wild:
            tail[place] = "."
        return "".join(tail)


class Lookup:
    """The keys of one pattern dictionary, to be looked up for `names` and no others.

    Raises:
        BrokenError: a key is no regular expression; PEFT cannot load it either.
        TimeoutError: to try the regular expressions takes too long; PEFT would hang.
    """

    def __init__(self, keys: Mapping[str, object], names: Collection[str]) -> None:
        self._order = {key: place for place, key in enumerate(keys)}
        self._plain: dict[int, dict[_Form, dict[str, list[str]]]] = {}  # by length, form and text
        self._regexes = [key for key in keys if not self._tabled(key)]
        self._work = 0
        patterns = [f"{_BEFORE}{key}{_AFTER}" for key in self._regexes]
        self._tried = expressions.matches(patterns, names, limit_s=_LIMIT_S) if patterns else {}

    def matches(self, name: str) -> list[str]:
        """Every key that matches the module, in file order: PEFT takes the first.

        Raises:
            TimeoutError: the keys and the names are so made that to compare them takes too long.
        """
        if not self._order:
            return []
        found = []
        for length in (len(name), *(len(name) - place - 1 for place, char in enumerate(name) if char == ".")):
            forms = self._plain.get(length, {})
            self._work += len(forms) * length
            found += [key for form, texts in forms.items() for key in texts.get(form.shaped(name), ())]
        if self._work > _WORK:
            raise TimeoutError
        if self._regexes:
            found += [self._regexes[place] for place in self._tried[name]]
        if not found and name in self._order:
            return [name]
        return sorted(found, key=self._order.__getitem__)

    def _tabled(self, key: str) -> bool:
        """Put a plain key into the table; whether it was one that the table has room for."""
        match = _PLAIN.fullmatch(key)
        if match is None:
            return False
        text = re.sub(r"\\[.-]", lambda escaped: escaped[0][1], match[2])
        wild = _wild(match[2])
        forms = self._plain.setdefault(len(text), {})
        form = _Form(bool(match[1]), len(text), wild)
        if form not in forms and len(forms) >= _CROWD:
            return False
        forms.setdefault(form, {}).setdefault(text, []).append(key)
        return True


class Values:
    """One pattern dictionary at work: the value of each module, and what is odd about the keys."""

    def __init__(
        self, path: Path, field: str, values: Mapping[str, Any], default: float, *, names: Collection[str]
    ) -> None:
        self._path, self._field, self._values, self._default = path, field, values, default
        self._unmatched = dict.fromkeys(values)
        self._overlaps: list[str] = []
        try:
            self._lookup = Lookup(values, names)
        except BrokenError as error:
            key = str(error).removeprefix(_BEFORE).removesuffix(_AFTER)
            wrong = f"{field} has the key {quoted(key)}, which is no regular expression"
            raise refuse(path, wrong, "mend the config; PEFT cannot load it") from error
        except TimeoutError as error:
            raise self._endless() from error

    def of(self, name: str) -> Any:
        """The module's value: that of the first key in the file that matches it, as PEFT looks it up on loading.

        Raises:
            AdapterError: to look it up takes too long.
        """
        try:
            matches = self._lookup.matches(name)
        except TimeoutError as error:
            raise self._endless() from error
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

    def _endless(self) -> AdapterError:
        wrong = f"to match the keys of its {self._field} takes too long"
        return refuse(self._path, wrong, "name the modules by their plain paths there")


def exact(values: Mapping[str, V], names: Collection[str]) -> dict[str, V]:
    """A pattern dictionary that gives these values to these of the `names`, and nothing to the others.

    Its keys are full paths, which every version of PEFT understands; they are anchored only where one is the end of
    another module's path, as PEFT takes a key for a regular expression that the end of a path has to match.
    """
    ordered = dict(sorted(values.items()))  # PEFT sorts them when it saves, and takes the first that matches
    return ordered if _is_exact(ordered, names) else {f"^{re.escape(name)}": value for name, value in ordered.items()}


def _is_exact(keys: Mapping[str, object], names: Collection[str]) -> bool:
    """Whether every name with a key gets its own, and every other name none."""
    if not all(map(_LITERAL.fullmatch, keys)):
        return False
    lookup = Lookup(keys, names)
    return all(lookup.matches(name)[:1] == [name] * (name in keys) for name in names)


def _wild(escaped: str) -> tuple[int, ...]:
    """Places of the dots that are not escaped, in the text without its escapes."""
    text = re.sub(r"\\[.-]", "-", escaped)
    return tuple(place for place, char in enumerate(text) if char == ".")
