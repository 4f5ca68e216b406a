"""Where a base model is: a directory, or a model on the Hub by reference or by its bare name."""

import re
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Final

import msgspec

from gradience import references
from gradience.audit.base.shards import refuse
from gradience.references import Fetched

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?:@[^/]+)?")


class FileState(msgspec.Struct, frozen=True):
    """A file as it is: one of these changes with every other content, without reading it."""

    name: str
    size: int
    mtime_ns: int
    ctime_ns: int


def located(given: str | PathLike[str]) -> Fetched:
    """The model's files in a local folder.

    `org/name` is a model on the Hub only where there is no directory `org`: a local path never touches the network,
    mistyped ones included.

    Raises:
        InputError: the reference cannot be fetched.
        ExtraMissingError: the library for it is not installed.
    """
    if not isinstance(given, str):
        return references.fetch_model(given)
    is_name = _NAME.fullmatch(given) and not Path(given).parent.exists()
    return _fetched(f"hf://{given}" if is_name else given)


@lru_cache(maxsize=8)
def _fetched(reference: str) -> Fetched:
    """Asked for once a process: each of many adapters would ask the Hub whether the model is still the same."""
    return references.fetch_model(reference)


def states(folder: Path) -> list[FileState]:
    """The files of a model's folder.

    Raises:
        InputError: there is no such folder.
    """
    try:
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError as error:
        raise refuse(folder, f"it cannot be read ({error.strerror})", "check the path and its permissions") from error
    return [FileState(name, found.st_size, found.st_mtime_ns, found.st_ctime_ns) for name, found in files]
