"""The form of every refusal: which file, what is wrong with it, and the mend, on one line."""

from collections.abc import Sequence
from os import PathLike

from gradience.errors import AdapterError

_WIDTH = 80  # longer names from a file are cut: a hostile one must not fill the screen or an event's 256 characters
_FEW = 5  # names that a line can carry


def refuse(path: str | PathLike[str], wrong: str, mend: str, *, act: str = "audit") -> AdapterError:
    """The error to raise for `path`, on which `act` was attempted."""
    return AdapterError(printable(f"cannot {act} {path}: {wrong}; {mend}"))


def quoted(text: object) -> str:
    """Something that a file says, safe to print and short."""
    return f"'{_clipped(printable(str(text)[: _WIDTH + 1]))}'"


def listed(names: Sequence[str]) -> str:
    """How many there are and which is first: "3, first 'a'"; one alone is just quoted."""
    return quoted(names[0]) if len(names) == 1 else f"{len(names)}, first {quoted(names[0])}"


def named(names: Sequence[str]) -> str:
    """All of them where they are few: "'a', 'b' and 3 more"."""
    shown = ", ".join(quoted(name) for name in names[:_FEW])
    return shown if len(names) <= _FEW else f"{shown} and {len(names) - _FEW} more"


def printable(text: str) -> str:
    """Text of a file or a path on one line, without what could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _clipped(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
