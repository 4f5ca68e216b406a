"""`gradience sync` as a process of its own: a tracker's library never enters this one, nor can it hang it."""

import logging
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Final

import msgspec

from gradience import child_process
from gradience.errors import InputError
from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.mirror.wish import Wish

log = logging.getLogger("gradience.mirror")

WISH_OPTION: Final = "--wish-on-stdin"  # of `gradience sync`; for nobody to type
OVERTIME_S: Final = 45.0  # past the deadline: a slow start, a last call under way, the child's own watchdog


def in_child(path: Path, wish: Wish, deadline_s: float) -> Outcome:
    """Catch a sink up with a journal within a deadline.

    A child that does not end is killed; what it had delivered stays delivered.

    Raises:
        InputError: the child says that its input cannot be used, in its own words.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # a pipe would wait for grandchildren too
        child = subprocess.Popen(
            [*child_process.PYTHON, "-m", "gradience", *_asked(path, deadline_s)],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            child_process.tell(child, msgspec.json.encode(wish))
            code = child.wait(deadline_s + OVERTIME_S)
        except subprocess.TimeoutExpired:
            return Outcome(state=Delivery.UNAVAILABLE, error=f"no answer within {deadline_s + OVERTIME_S:.0f} s")
        finally:
            child_process.end(child)
        return _outcome(code, _text(out), _text(err))


def _asked(path: Path, deadline_s: float) -> list[str]:
    return ["sync", WISH_OPTION, "--json", "--deadline", str(deadline_s), "--", str(path)]


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
