"""What a text refers to: a scheme with a colon and a slash makes a reference, everything else is a path."""

import re
from typing import Final

import msgspec

from gradience.vnext import privacy

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # two characters at least: "C:/" is a drive
_QUERY: Final = re.compile(r"(?<=\w)\?[^\s'\"]+")  # of a signed URL: the signature
FILE: Final = ".safetensors"  # what ends so is a file, everything else a folder
_TRACKED: Final = ("runs", "models")  # MLflow's; the others name their server
_TEXT: Final = privacy.Policy(max_str_len=None)


class Reference(msgspec.Struct, frozen=True):
    """One place of an adapter outside this machine's folders.

    `text` may hold credentials: print `shown`. `tracker` is the address of a tracker, where one was named beside the
    reference. `file` is the one file in that place that is meant: some tools save an adapter as a file of any name.
    """

    text: str
    tracker: str | None = None
    file: str | None = None

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
        """The whole reference without credentials."""
        folder, mark, query = self.text.partition("?")
        return masked(f"{folder}/{self.file}{mark}{query}" if self.file else self.text)


def parse(text: str, tracker: str | None = None) -> Reference | None:
    """The reference that a text is; None for a path."""
    if not _SCHEME.match(text):
        return None
    place, mark, query = text.partition("?")
    if not place.endswith(FILE):
        return Reference(text, tracker)
    folder, _, file = place.rpartition("/")
    return Reference(f"{folder}{mark}{query}", tracker, file)


def masked(text: str) -> str:
    """A text about references without user information, secrets and the queries of signed URLs."""
    return privacy.clean(_QUERY.sub("?[REDACTED]", text) if ":/" in text else text, _TEXT, "")
