"""Fetching what a reference refers to, and the one place where the errors of others become one line."""

import os
import re
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from textwrap import shorten
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec

from gradience.errors import ExtraMissingError, GradienceError, InputError
from gradience.references import registry
from gradience.references.reference import Reference, masked, parse
from gradience.references.resolver import Fetched, ModelResolver

_LONGEST: Final = 300  # characters of another library's words
_LOCAL_HOSTS: Final = ("", "localhost")

_Fetch: TypeAlias = Callable[[Reference], Fetched]


def fetch(place: str | PathLike[str], *, tracker: str | None = None) -> Fetched:
    """The adapter that a path or a reference leads to, in a local folder.

    A path is returned as it is, whether something is there or not; a `PathLike` is always one, and so is the path of a
    `file:` URL. `tracker` is the address of the tracker for references to its runs and models, where its own
    environment is not to decide.

    Raises:
        InputError: the reference cannot be fetched.
        ExtraMissingError: a library that is needed for it is not installed; the message says which.
    """
    return _fetched(place, tracker, lambda reference: registry.resolver(reference.scheme).fetch)


def fetch_model(place: str | PathLike[str]) -> Fetched:
    """As `fetch`, for a whole model: its config and its weights, which may be many gigabytes.

    Raises:
        InputError: the reference cannot be fetched, or its scheme is not known to hold models.
        ExtraMissingError: as `fetch`.
    """
    return _fetched(place, None, _of_models)


def by(fetcher: _Fetch, reference: Reference) -> Fetched:
    """What a resolver's method fetches; whatever else it raises becomes one line.

    Raises:
        InputError: as `fetch`.
        ExtraMissingError: as `fetch`.
    """
    try:
        return fetcher(reference)
    except GradienceError:
        raise
    except Exception as error:  # noqa: BLE001 - fsspec alone has dozens of back ends, each with errors of its own
        raise _plain(reference, error) from None  # their text may hold credentials


def _fetched(place: str | PathLike[str], tracker: str | None, method: Callable[[Reference], _Fetch]) -> Fetched:
    text = os.fspath(place)
    reference = parse(text, tracker) if isinstance(place, str) else None
    if reference is None:
        return Fetched(folder=Path(text), shown=text, is_local=True)
    if reference.scheme == "file":
        return _of_file_url(reference, text)
    fetched = by(method(reference), reference)
    return fetched if reference.file is None else _narrowed(fetched, reference.file)


def _of_models(reference: Reference) -> _Fetch:
    resolver = registry.resolver(reference.scheme)
    if not isinstance(resolver, ModelResolver):
        raise InputError(f"cannot fetch the model {reference.shown}: models come from hf:// or a local directory")
    return resolver.fetch_model


def _narrowed(fetched: Fetched, file: str) -> Fetched:
    """The one file that is meant, within what was fetched."""
    return msgspec.structs.replace(fetched, folder=fetched.folder / file)


def _of_file_url(reference: Reference, url: str) -> Fetched:
    parts = urlsplit(url)
    if parts.netloc not in _LOCAL_HOSTS:
        raise InputError(f"cannot fetch {reference.shown}: it is on another machine; give its local path")
    from urllib.request import url2pathname  # brings a whole HTTP client, which no path should wait for

    path = Path(url2pathname(parts.path))
    return Fetched(folder=path, shown=str(path), is_local=True)


def _plain(reference: Reference, error: Exception) -> GradienceError:
    action = f"cannot fetch {reference.shown}"
    if missing := _missing(error):
        return ExtraMissingError(f"{action}: {missing!r} is not installed: pip install {missing}")
    if isinstance(error, FileNotFoundError):
        return InputError(f"{action}: there is no such place; check the reference")
    return InputError(f"{action}: {_reason(error)}")


def _missing(error: BaseException | None) -> str | None:
    """The library that an import did not find."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # a chain may be a ring
        seen.add(id(error))
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.partition(".")[0]
        error = error.__cause__ or error.__context__
    return None


def _reason(error: Exception) -> str:
    said = re.sub(r"\s+", " ", masked(unquote(str(error)))).strip()
    return shorten(said, _LONGEST, placeholder="...") or type(error).__name__
