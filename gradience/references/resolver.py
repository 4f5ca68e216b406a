"""What fetches references of one scheme, and what it hands back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from gradience.errors import AdapterError
from gradience.references.reference import Reference


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """An adapter's files in a local folder, which is read and never written.

    `shown` is the reference without credentials, or the path as given. `runs` has the tracked run that the files
    belong to, by the name of the sink, where the reference tells.
    """

    folder: Path
    shown: str
    is_local: bool = False
    runs: Mapping[str, str] = {}

    @contextmanager
    def named(self) -> Iterator[None]:
        """Refusals of the folder's files name the reference instead of a place in a cache."""
        try:
            yield
        except AdapterError as error:
            if self.is_local:
                raise
            raise AdapterError(str(error).replace(str(self.folder), self.shown.rstrip("/"))) from error


class Resolver(Protocol):
    """Fetches references; made anew for each, without arguments. Its module imports no library of others."""

    def fetch(self, reference: Reference) -> Fetched:
        """The adapter's files, from its own cache where they cannot have changed.

        It may raise whatever its library raises, which becomes one line; an ImportError becomes an install line.

        Raises:
            InputError: there is no such thing, or it holds no adapter.
        """


@runtime_checkable
class ModelResolver(Protocol):
    """A resolver whose places may hold whole models, too."""

    def fetch_model(self, reference: Reference) -> Fetched:
        """The config and the safetensors of the model at the reference; raises as `fetch`.

        Raises:
            InputError: there is no such thing, or it holds no such model.
        """
