"""An adapter by path or by reference; while it is open, refusals name what the caller gave."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

import msgspec

from gradience import references
from gradience.audit.disk import adapter
from gradience.audit.disk.adapter import Adapter
from gradience.references import Fetched


@contextmanager
def opened(place: str | PathLike[str] | Fetched, *, initial: str | PathLike[str] | None = None) -> Iterator[Adapter]:
    """The adapter at `place`, less the one at `initial` where that is given; references are fetched first.

    Raises:
        AdapterError: as `adapter.load`.
        InputError: the reference cannot be fetched.
    """
    fetched = place if isinstance(place, Fetched) else references.fetch(place)
    with fetched.named():
        before = None if initial is None else references.fetch(initial).folder
        found = adapter.load(fetched.folder, initial=before)
        yield msgspec.structs.replace(found, info=msgspec.structs.replace(found.info, peft_dir=fetched.shown))
