"""A resolver in a process of its own: trackers are libraries that take seconds to import, hang, prompt and log in.

The request goes through stdin, because an address may hold credentials and arguments are for everybody to see.
"""

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from gradience import child_process
from gradience.errors import ExtraMissingError, GradienceError, InputError
from gradience.references.reference import Reference
from gradience.references.resolver import Fetched, Resolver

DEADLINE_S: Final = 900.0  # gigabytes over a slow line; a server that hangs is given up much sooner
_MODULE: Final = "gradience.references.child"


class _Request(msgspec.Struct, frozen=True):
    resolver: str  # module:Class
    reference: Reference
    answer: str  # the file to write the answer to: stdout belongs to whatever the library prints


class _Answer(msgspec.Struct, frozen=True):
    fetched: Fetched | None = None
    error: str | None = None
    missing: bool = False


def fetch(resolver: str, reference: Reference, env: Mapping[str, str], *, deadline_s: float = DEADLINE_S) -> Fetched:
    """Let the resolver `module:Class` fetch a reference, with `env` added to the environment.

    Raises:
        InputError: it could not, in its own words; or not within the deadline.
        ExtraMissingError: its library is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="gradience-") as folder:
        answer = Path(folder) / "answer.json"
        request = msgspec.json.encode(_Request(resolver, reference, str(answer)))
        _run(request, reference, env, deadline_s)
        try:
            said = msgspec.json.decode(answer.read_bytes(), type=_Answer, dec_hook=_made)
        except (OSError, msgspec.DecodeError):
            raise InputError(f"cannot fetch {reference.shown}: the process that fetched it broke off") from None
    if said.fetched is not None:
        return said.fetched
    kind = ExtraMissingError if said.missing else InputError
    raise kind(said.error or f"cannot fetch {reference.shown}")


def _run(request: bytes, reference: Reference, env: Mapping[str, str], deadline_s: float) -> None:
    child = subprocess.Popen(
        [*child_process.PYTHON, "-m", _MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **env},
        start_new_session=True,
    )
    try:
        child.communicate(request, deadline_s)
    except subprocess.TimeoutExpired:
        raise InputError(f"cannot fetch {reference.shown}: not done within {deadline_s:.0f} s; try again") from None
    finally:
        child_process.end(child)


def _made(kind: type[Path], value: str) -> Path:
    """A path as JSON has it, which msgspec does not know."""
    return kind(value)


class _Named:
    """The resolver `module:Class`, imported when it is to fetch: its library may be missing."""

    def __init__(self, name: str) -> None:
        self._module, _, self._class = name.partition(":")

    def fetch(self, reference: Reference) -> Fetched:
        """As the resolver itself."""
        resolver: Resolver = getattr(importlib.import_module(self._module), self._class)()
        return resolver.fetch(reference)


def _serve() -> None:
    from gradience.references import fetching

    request = msgspec.json.decode(sys.stdin.buffer.read(), type=_Request)
    try:
        answer = _Answer(fetched=fetching.by(_Named(request.resolver).fetch, request.reference))
    except GradienceError as error:
        answer = _Answer(error=str(error), missing=isinstance(error, ExtraMissingError))
    Path(request.answer).write_bytes(msgspec.json.encode(answer, enc_hook=str))


if __name__ == "__main__":
    _serve()
