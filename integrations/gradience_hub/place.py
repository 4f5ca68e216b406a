"""What `hf://org/name[@revision][/folder]` names."""

import re
from typing import Final
from urllib.parse import unquote

import msgspec

from gradience.errors import InputError
from gradience.references.reference import Reference

_FORM: Final = re.compile(
    r"(?:models/)?(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(?P<folder>.+))?"
)
_OTHER_KINDS: Final = ("datasets/", "spaces/", "buckets/")


class Place(msgspec.Struct, frozen=True):
    """A folder of a model repository."""

    repo: str
    revision: str | None = None
    folder: str = ""  # "" is the repository's root

    @classmethod
    def of(cls, reference: Reference) -> "Place":
        """The place that a reference names.

        Raises:
            InputError: it does not have the form.
        """
        found = _FORM.fullmatch(reference.rest)
        if found is None or reference.rest.startswith(_OTHER_KINDS) or ".." in reference.rest.split("/"):
            form = "hf://ORGANISATION/NAME[@REVISION][/FOLDER]"
            raise InputError(f"cannot fetch {reference.shown}: a model on the Hub is written {form}")
        revision = unquote(found["revision"]) if found["revision"] else None
        return cls(found["repo"], revision, found["folder"] or "")
