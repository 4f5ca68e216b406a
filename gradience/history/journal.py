"""A history as a journal: whole or not at all, and never over a file that is there."""

import hashlib
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

from gradience.errors import InputError
from gradience.history.history import History
from gradience.vnext import codec, privacy

_ENVELOPE: Final = ("ts", "event", "step")


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the journal now; `redacted` texts were left out of it."""

    path: str
    run_id: str
    origin: str
    events: dict[str, int]  # by name
    redacted: int
    notes: tuple[str, ...]


def write(history: History, path: Path) -> Written:
    """Write the events; the end, where there is one, seals the lines before it.

    Raises:
        InputError: there is a file under that name, or none can be made.
    """
    if os.path.lexists(path):
        raise InputError(f"cannot import to {path}: it is there already; give another --out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"cannot import to {path}: {error.strerror}; give another --out") from error
    try:
        with os.fdopen(handle, "wb") as file:
            written = _lines(history, file, path)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).chmod(0o666 & ~_umask())
        _publish(draft, path)
    except FileExistsError:
        raise InputError(f"cannot import to {path}: it is there already; give another --out") from None
    except OSError as error:
        raise InputError(f"cannot import to {path}: {error.strerror}; give another --out") from error
    finally:
        Path(draft).unlink(missing_ok=True)
    return written


def _publish(draft: str, path: Path) -> None:
    """Give the draft its name; unlike a rename alone, neither way replaces what is there."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        path.touch(exist_ok=False)
        Path(draft).replace(path)


def _lines(history: History, file: Any, path: Path) -> Written:
    encoder = codec.Encoder(privacy.Policy(known=privacy.secrets(os.environ)))
    total, count = hashlib.sha256(), Counter[str]()
    for event in history.events:
        payload = {key: value for key, value in event.items() if key not in _ENVELOPE}
        if event["event"] == "run_end":
            payload["seal"] = {"lines": count.total(), "sha256": total.hexdigest()}
        line = encoder.event(event["ts"], history.id, event["event"], event.get("step"), payload)
        file.write(line)
        total.update(line)
        count[event["event"]] += 1
    if not count:
        raise InputError(f"cannot import {history.origin}: it holds no events")
    return Written(
        path=str(path),
        run_id=history.id,
        origin=history.origin,
        events=dict(count),
        redacted=encoder.redacted,
        notes=history.notes,
    )


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
