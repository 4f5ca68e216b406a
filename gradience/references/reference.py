"""What a text refers to: a scheme with a colon and a slash makes a reference, everything else is a path."""

import re
from typing import Final

import msgspec

from gradience.vnext import privacy

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # two characters at least: "C:/" is a drive
_QUERY: Final = re.compile(r"(?<=\w)\?[^\s'\"]+")  # of a signed URL: the signature
_TRACKED: Final = ("runs", "models")  # MLflow's; the others name their server
_TEXT: Final = privacy.Policy(max_str_len=None)


class Reference(msgspec.Struct, frozen=True):
    """One place of an adapter outside this machine's folders.

    `text` is as given and may hold credentials: print `shown`. `tracker` is the address of a tracker, where one was
    named beside the reference.
    """

    text: str
    tracker: str | None = None

    @property
    def scheme(self) -> str:
        """What decides who fetches it, in lower case."""
        found = _SCHEME.match(self.text)
        return found[1].lower() if found else ""

    @property
    def rest(self) -> str:
        """What follows the scheme and its slashes, without a slash at the end."""
        return self.text.partition(":")[2].strip("/")

    @property
    def is_tracked(self) -> bool:
        """Whether it leads into a tracker, whose address decides what it is."""
        return self.scheme in _TRACKED

    @property
    def shown(self) -> str:
        """The reference without credentials."""
        return masked(self.text)


def parse(text: str, tracker: str | None = None) -> Reference | None:
    """The reference that a text is; None for a path."""
    return Reference(text, tracker) if _SCHEME.match(text) else None


def masked(text: str) -> str:
    """A text about references without user information, secrets and the queries of signed URLs."""
    return privacy.clean(_QUERY.sub("?[REDACTED]", text) if ":/" in text else text, _TEXT, "")
