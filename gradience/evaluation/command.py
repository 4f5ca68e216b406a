"""Somebody's command with its placeholders filled in: as arguments, so that no path is ever taken for syntax."""

import re
import shlex
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from gradience.errors import InputError

ADAPTER: Final = "adapter"
SEED: Final = "seed"
OUTPUT: Final = "output"
PLACEHOLDERS: Final = (ADAPTER, SEED, OUTPUT)
_NAMED: Final = re.compile(r"\{(\w+)\}")


def check(command: str, *, shell: bool) -> None:
    """Refuse a command that cannot evaluate two adapters.

    Raises:
        InputError: it names no adapter, misspells a placeholder, or has quotes that do not match.
    """
    for name in _NAMED.findall(command):
        if name not in PLACEHOLDERS and (meant := get_close_matches(name.lower(), PLACEHOLDERS, n=1, cutoff=0.75)):
            raise InputError(f"--command: {{{name}}} is no placeholder; {{{meant[0]}}}?")
    if not uses(command, ADAPTER):
        raise InputError("--command has no {adapter}: write it where the path of the adapter is to stand")
    try:
        if not shlex.split(command):
            raise InputError("--command is empty")
    except ValueError as error:
        raise InputError(f"--command: {error}") from error
    if shell and (quoted := _quoted(command)):
        raise InputError(f"--command: leave out the quotes around {{{quoted}}}; it is quoted for the shell as it needs")


def uses(command: str, name: str) -> bool:
    """Whether a placeholder stands in it."""
    return f"{{{name}}}" in command


def arguments(command: str, values: Mapping[str, str]) -> list[str]:
    """The program and its arguments; other braces stay as they are."""
    return [filled(word, values) for word in shlex.split(command)]


def script(command: str, values: Mapping[str, str]) -> str:
    """The same as a line for a shell, every value quoted."""
    return filled(command, {name: shlex.quote(value) for name, value in values.items()})


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its placeholders filled in."""
    return _NAMED.sub(lambda found: values.get(found[1], found[0]), text)


def _quoted(command: str) -> str | None:
    """A placeholder that stands in quotes, where quoting it again would break it."""
    quote, escaped = "", False
    for index, sign in enumerate(command):
        if escaped:
            escaped = False
        elif sign == "\\" and quote != "'":
            escaped = True
        elif sign in "'\"" and quote in ("", sign):
            quote = "" if quote else sign
        elif sign == "{" and quote and (found := _NAMED.match(command, index)) and found[1] in PLACEHOLDERS:
            return found[1]
    return None
