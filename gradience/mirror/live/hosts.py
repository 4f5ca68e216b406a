"""Where a live drain runs: in a process of its own, or in a thread of this one."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from gradience.mirror.cursor import CursorFile, Delivery
from gradience.mirror.live.follow import follow
from gradience.mirror.live.sidecar import PARKED
from gradience.mirror.live.spec import Spec
from gradience.mirror.live.vigil import Vigil
from gradience.mirror.sink import Sink
from gradience.vnext import private

log = logging.getLogger("gradience.mirror")

LOG_BYTES: Final = 1 << 20  # an older log that is longer makes way: a year of outages must not fill a disk
# The working directory stays off sys.path, where a folder of runs called "mlflow" would hide the library; Python 3.10
# has no -P for that.
_PROGRAM: Final = """
import sys
if sys.path[0] == "":
    del sys.path[0]
from gradience.mirror.live import sidecar
sidecar.main()
"""


# A child forked while a process is being started would keep that one's pipes open, and whoever reads them waiting.
_no_forks = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_no_forks.acquire, after_in_parent=_no_forks.release, after_in_child=_no_forks.release)


class Host(Protocol):
    """One live drain, started again as often as it has to be."""

    account: str
    """Where to read how it went."""

    def start(self) -> None:
        """Begin to deliver; raises OSError or RuntimeError when there is nothing to start with."""

    def code(self) -> int | None:
        """The exit code of what was started last, 0 when it has done its work; None while it is at work."""

    def leave(self) -> None:
        """Make it deliver what is there, and go."""


class Sidecar:
    """A process with a session of its own, so that no signal to the training's group meets it."""

    def __init__(self, spec: Spec, store: CursorFile, env: Mapping[str, str], cwd: Path) -> None:
        self._spec = spec
        self._env = dict(env)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._log = store.path.with_suffix(".log")
        self.account = f"see {self._log}"

    def start(self) -> None:
        """Start the process; the spec goes to its stdin, what it says to its log."""
        command = [sys.executable, "-c", _PROGRAM, self._spec.wish.label, self._spec.journal]
        with private.open(_not_long(self._log), "ab") as log_file, _no_forks:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                cwd=self._cwd,
                env=self._env,
                start_new_session=True,
            )
            self._process = process
            if process.stdin is not None:
                with process.stdin as pipe:
                    pipe.write(msgspec.json.encode(self._spec))

    def code(self) -> int | None:
        """Its exit code, which also lets the system forget it."""
        return self._process.poll() if self._process is not None else 0

    def leave(self) -> None:
        """Ask it by a signal."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)


class Thread:
    """A thread of this process, for a sink that lives here."""

    def __init__(self, spec: Spec, store: CursorFile, sink: Sink) -> None:
        self._spec = spec
        self._store = store
        self._sink = sink
        self._vigil = Vigil(spec)
        self._thread: threading.Thread | None = None
        self._code = 0
        self.account = "see above"

    def start(self) -> None:
        """Start the thread."""
        self._code = 1
        thread = threading.Thread(target=self._run, name=f"gradience-{self._sink.name}", daemon=True)
        thread.start()
        self._thread = thread

    def code(self) -> int | None:
        """What a process would have said."""
        return None if self._thread is not None and self._thread.is_alive() else self._code

    def leave(self) -> None:
        """Tell the vigil."""
        self._vigil.leave()

    def _run(self) -> None:
        try:
            state = follow(self._spec, self._sink, self._store, self._vigil)
        except OSError:
            log.exception("%s: delivery failed", self._sink.name)
        else:
            self._code = PARKED if state is Delivery.PARKED else 0


def _not_long(path: Path) -> Path:
    """The log of a side-car; one that has grown long is put aside first."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))
    return path
