"""The adapter's identity: one hash over what it weighs and how it is configured, read in bounded memory."""

import hashlib
from pathlib import Path

from gradience.audit.folder import Files
from gradience.audit.refusal import refuse

_CHUNK = 1 << 20  # large enough that hashing releases the interpreter lock almost all the time


def of(files: Files) -> str:
    """`sha256:<hex>` over the bytes of the weights, then of the config.

    Raises:
        AdapterError: a file cannot be read.
    """
    total = hashlib.sha256()
    try:
        _feed(total, files.weights)
        _feed(total, files.config)
    except OSError as error:
        raise refuse(files.given, f"it cannot be read ({error.strerror})", "check its permissions") from error
    return f"sha256:{total.hexdigest()}"


def _feed(total: "hashlib._Hash", path: Path) -> None:
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total.update(buffer[:count])
