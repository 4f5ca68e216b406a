"""Why something failed, in one line that is safe to show and to keep: without credentials."""

from collections.abc import Mapping
from typing import Final

from gradience.vnext import privacy

LONGEST: Final = 300  # characters: an error page of a proxy is no reason
SHORTEST: Final = 3  # characters: to hide a shorter value would only garble the text
_MASKED: Final = privacy.Policy(max_str_len=None)


def of(error: BaseException) -> str:
    """The text of an error; its class where it has none."""
    return safe(" ".join(str(error).split()) or type(error).__name__)[:LONGEST]


def safe(text: str) -> str:
    """Text with the user info of addresses and other secrets masked."""
    return privacy.clean(text, _MASKED, "")


def hiding(text: str, shown: Mapping[str, str]) -> str:
    """The same with other texts in place of some values, such as `${VAR}` for what a variable has in it."""
    for value in sorted(shown, key=len, reverse=True):
        if len(value) >= SHORTEST:
            text = text.replace(value, shown[value])
    return safe(text)
