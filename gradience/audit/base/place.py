"""Where a base model is: a directory, or a model on the Hub by reference or by its bare name."""

import os
import re
from os import PathLike
from pathlib import Path
from typing import Final

from gradience import references
from gradience.references import Fetched

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?:@[^/]+)?")


def located(given: str | PathLike[str]) -> Fetched:
    """The model's files in a local folder.

    `org/name` is a model on the Hub only where there is no directory `org`: a local path never touches the network,
    mistyped ones included.

    Raises:
        InputError: the reference cannot be fetched.
        ExtraMissingError: the library for it is not installed.
    """
    text = os.fspath(given)
    is_name = isinstance(given, str) and _NAME.fullmatch(text) and not Path(text).parent.exists()
    return references.fetch_model(f"hf://{text}" if is_name else given)
