"""A Python process of our own, for a library that must not enter this one: how it is started, and how it is ended."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, Final

# -P keeps the working directory off sys.path, where a folder of runs called "mlflow" would hide the library.
PYTHON: Final = (sys.executable, "-P") if sys.version_info >= (3, 11) else (sys.executable,)


def end(child: subprocess.Popen[bytes]) -> None:
    """Leave nothing of it behind, nor of the session that it leads."""
    if sys.platform == "win32":
        child.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def end_children() -> None:
    """Leave nothing of what this process has started, where the system tells what that is; for one that ends itself."""
    for listed in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for pid in map(int, listed.read_text().split()):
                os.kill(pid, signal.SIGKILL)


def tell(child: subprocess.Popen[bytes], request: bytes) -> None:
    """Give it all that it is to know; one that has died already says so by its exit code."""
    pipe, child.stdin = child.stdin, None
    if pipe is not None:
        with contextlib.suppress(BrokenPipeError), pipe:
            pipe.write(request)


def told() -> bytes:
    """In the child: everything on stdin, which is then as if nobody were there."""
    request = sys.stdin.buffer.read()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return request


def voice() -> BinaryIO:
    """In the child: the stdout that it was started with, for it alone; what a library prints goes to stderr."""
    mine = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return mine
