"""Why something failed, in one line that is safe to show and to keep: without credentials."""

from typing import Final

from gradience.vnext import privacy

LONGEST: Final = 300  # characters: an error page of a proxy is no reason
_MASKED: Final = privacy.Policy(max_str_len=None)


def of(error: BaseException) -> str:
    """The text of an error; its class where it has none."""
    return safe(" ".join(str(error).split()) or type(error).__name__)[:LONGEST]


def safe(text: str) -> str:
    """Text with the user info of addresses and other secrets masked."""
    return privacy.clean(text, _MASKED, "")
