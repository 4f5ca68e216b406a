"""`${VAR}` and `${VAR:-default}` in a text, and `$$` for a dollar; a pure function of the environment it is given."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

_REFERENCE: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}|(?P<broken>\{))"
)


class Expansion(msgspec.Struct, frozen=True, kw_only=True):
    """A text with its variables put in.

    `used` has their values, `unset` the names of those that have none; `is_broken` where a `${` begins no variable.
    """

    text: str
    used: dict[str, str] = {}
    unset: tuple[str, ...] = ()
    is_broken: bool = False


def expand(text: str, env: Mapping[str, str]) -> Expansion:
    """Put variables in; as in a shell, a default also stands for an empty value. A lone `$` is one."""
    used: dict[str, str] = {}
    unset: list[str] = []
    broken: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["broken"]:
            broken.append(match.group())
            return ""
        name, default = match["name"], match["default"]
        found = env.get(name)
        if not found and default is not None:
            return str(default)
        if found is None:
            unset.append(name)
            return ""
        used[name] = found
        return found

    expanded = _REFERENCE.sub(value, text)
    return Expansion(text=expanded, used=used, unset=tuple(unset), is_broken=bool(broken))


def names(text: str) -> list[str]:
    """The variables that a text refers to."""
    return [match["name"] for match in _REFERENCE.finditer(text) if match["name"]]
