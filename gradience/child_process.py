"""A Python process of our own, for a library that must not enter this one: how it is started, and how it is ended."""

import contextlib
import os
import signal
import subprocess
import sys
from typing import Final

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
