"""Running an evaluation: in a session of its own, what it prints shown and kept, and nothing of it left when it ends.

However it ends - by itself, at a timeout, by Ctrl-C or because we are told to go - its whole process group is ended.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Final

import msgspec

from gradience.errors import InputError

KEPT: Final = 32 << 20  # bytes of stdout: the values of a million examples
TAIL: Final = 8 << 10  # bytes of stderr
GRACE_S: Final = 5.0  # between the request to end and the end
_PIECE: Final = 1 << 16
_DRAIN_S: Final = 2.0  # for what a process has printed last

Show = Callable[[bytes], object]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended. `code` is negative for a signal, as in `subprocess`; None at a timeout."""

    code: int | None
    stdout: str  # the last 32 MB
    stderr: str  # the last 8 kB
    seconds: float


def run(
    command: Sequence[str] | str,
    *,
    env: Mapping[str, str],
    timeout_s: float | None,
    show_stdout: Show | None = None,
    show_stderr: Show | None = None,
) -> Ended:
    """Run a program, or a line of a shell, to its end or the timeout; the `show`s get every piece of its output.

    Raises:
        InputError: it cannot be started.
    """
    began = time.monotonic()
    child: subprocess.Popen[bytes] | None = None
    try:
        with _uninterrupted():
            child = _start(command, env)
            out, err = _Kept(child.stdout, KEPT, show_stdout), _Kept(child.stderr, TAIL, show_stderr)
        code = _wait(child, timeout_s)
        seconds = time.monotonic() - began
        if code is not None:  # what it still says; its children may hold the pipes open for ever
            out.drain()
            err.drain()
    finally:
        if child is not None:
            _end(child)
    out.drain()
    err.drain()
    return Ended(code=code, stdout=out.text, stderr=err.text, seconds=seconds)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals wait until a process that is being started is known: it would go on with nobody to end it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for missed in came:
        signal.raise_signal(missed)


def _start(command: Sequence[str] | str, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    shell = isinstance(command, str)
    name = command if isinstance(command, str) else command[0]
    try:
        return subprocess.Popen(
            command,
            shell=shell,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot run {name}: {reason}; check --command, or add --shell for shell syntax") from error


def _wait(child: "subprocess.Popen[bytes]", timeout_s: float | None) -> int | None:
    try:
        return child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Ask the whole group to go, and see that it does."""
    try:
        _signal(child, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    finally:  # also when somebody will not wait for that
        _signal(child, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        child.wait()


def _signal(child: "subprocess.Popen[bytes]", number: int) -> None:
    if sys.platform == "win32":
        child.terminate()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


class _Kept:
    """The end of what comes through a pipe, read by a thread of its own so that no writer ever waits."""

    def __init__(self, pipe: IO[bytes] | None, most: int, show: Show | None) -> None:
        self._pipe, self._most, self._show = pipe, most, show
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._thread = threading.Thread(target=self._read, name="gradience-evaluation-output", daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        return b"".join(tuple(self._pieces))[-self._most :].decode("utf-8", "replace")

    def drain(self) -> None:
        self._thread.join(_DRAIN_S)

    def _read(self) -> None:
        if self._pipe is None:
            return
        with self._pipe:
            while piece := os.read(self._pipe.fileno(), _PIECE):
                self._pieces.append(piece)
                self._size += len(piece)
                while self._size - len(self._pieces[0]) > self._most:
                    self._size -= len(self._pieces.popleft())
                if self._show is not None:
                    self._show(piece)
