"""The libraries that only many adapters need, imported where they are used."""

from importlib import import_module
from typing import Any

from gradience.errors import ExtraMissingError


def needed(library: str, what: str) -> Any:
    """The library, for auditing in `what`.

    Raises:
        ExtraMissingError: it is not installed.
    """
    try:
        return import_module(library)
    except ImportError as error:
        mend = f"pip install {library.partition('.')[0]}"
        raise ExtraMissingError(f"cannot audit in {what}: {library!r} is not installed: {mend}") from error
