"""Why something failed, in one line that is safe to show and to keep: without credentials."""

import os
from collections.abc import Mapping
from typing import Any, Final

from gradience.vnext import privacy

LONGEST: Final = 300  # characters: an error page of a proxy is no reason
SHORTEST: Final = 3  # characters: to hide a shorter value would only garble the text
_learned: set[str] = set()  # of the sinks of this process: their options and their exceptions have the same secrets


def of(error: BaseException) -> str:
    """The text of an error without its full stop, since it goes into other sentences; its class where it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return safe(text if text.endswith("..") else text.removesuffix("."))[:LONGEST]


def safe(text: str) -> str:
    """Text with the user info of addresses, secrets of this process and what looks like one masked."""
    known = (*privacy.secrets(os.environ), *sorted(_learned, key=len, reverse=True))
    return privacy.clean(text, privacy.Policy(max_str_len=None, known=known), "")


def learn(options: Mapping[str, Any]) -> None:
    """Take note of the secrets in a sink's options: no text of this process shows them from now on."""
    _learned.update(privacy.secrets(options))


def hiding(text: str, shown: Mapping[str, str]) -> str:
    """The same with other texts in place of some values, such as `${VAR}` for what a variable has in it."""
    for value in sorted(shown, key=len, reverse=True):
        if len(value) >= SHORTEST:
            text = text.replace(value, shown[value])
    return safe(text)
