"""`gradience sync` as a process of its own: a tracker's library never enters this one, nor can it hang it."""

import logging
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import msgspec

from gradience import child_process
from gradience.errors import InputError
from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome

log = logging.getLogger("gradience.mirror")

OVERTIME_S = 45.0  # past the deadline: a slow start, a last call under way, the child's own watchdog


def in_child(path: Path, name: str, options: Mapping[str, str], deadline_s: float) -> Outcome:
    """Catch the sink `name` up with a journal within a deadline; `options` are its constructor's.

    A child that does not end is killed; what it had delivered stays delivered.

    Raises:
        InputError: the child says that its input cannot be used, in its own words.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # a pipe would wait for grandchildren too
        child = subprocess.Popen(
            _command(path, name, options, deadline_s),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            code = child.wait(deadline_s + OVERTIME_S)
        except subprocess.TimeoutExpired:
            return Outcome(state=Delivery.UNAVAILABLE, error=f"no answer within {deadline_s + OVERTIME_S:.0f} s")
        finally:
            child_process.end(child)
        return _outcome(code, _text(out), _text(err))


def _command(path: Path, name: str, options: Mapping[str, str], deadline_s: float) -> list[str]:
    flags = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)]
    sync = ["sync", "--to", name, "--json", "--deadline", str(deadline_s), *flags, "--", str(path)]
    return [*child_process.PYTHON, "-m", "gradience", *sync]


def _outcome(code: int, out: str, err: str) -> Outcome:
    said = err.strip().splitlines()
    if code in (1, 2):
        raise InputError(said[-1].removeprefix("Error: ") if said else f"sync ended with exit code {code}")
    for line in said:
        log.warning("%s", line)
    try:
        return msgspec.json.decode(out, type=Outcome)
    except msgspec.DecodeError:
        return Outcome(state=Delivery.UNAVAILABLE, error=f"sync ended with exit code {code}: {''.join(said[-1:])}")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
