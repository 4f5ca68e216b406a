"""Audits of a training's checkpoints while it trains: one after the other, each in a process of its own.

The process has the lowest claim on the cores and none on a GPU, whose memory is the training's. What it finds is
appended to the journal, as by `gradience audit --append`, so that sinks plot how the rank is being used up.
"""

import logging
import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from gradience.child_process import PYTHON

_log = logging.getLogger("gradience.recording")

LIMIT_S: Final = 600.0  # an audit that hangs is given up
_NICE: Final = ("nice", "-n", "19")
_THREADS: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class _Asked(msgspec.Struct, frozen=True):
    """An adapter to audit, and what to remove afterwards: a copy that was made for the audit alone."""

    adapter: Path
    copy: Path | None


class Audits:
    """The audits of one journal, in the order in which they were asked for."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._open = 0
        self._done = threading.Condition()
        self._thread: threading.Thread | None = None

    def ask(self, adapter: Path, *, copy: Path | None = None) -> None:
        """Audit the adapter in a folder, which is named `checkpoint-STEP`; returns at once."""
        with self._done:
            self._open += 1
        self._asked.put(_Asked(adapter, copy))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="gradience-audits", daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for those that are open, at most so long; whether all are done."""
        until = time.monotonic() + timeout_s
        with self._done:
            return self._done.wait_for(lambda: self._open == 0, max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while True:
            asked = self._asked.get()
            try:
                self._audit(asked.adapter)
            finally:
                if asked.copy is not None:
                    shutil.rmtree(asked.copy, ignore_errors=True)
                with self._done:
                    self._open -= 1
                    self._done.notify_all()

    def _audit(self, adapter: Path) -> None:
        nice = _NICE if shutil.which(_NICE[0]) else ()
        command = [*nice, *PYTHON, "-m", "gradience", "audit", "--peft-dir", str(adapter)]
        command += ["--append", str(self._journal), "--device", "cpu"]
        try:
            subprocess.run(
                command, env={**os.environ, **_THREADS}, capture_output=True, timeout=LIMIT_S, check=True, text=True
            )
        except subprocess.CalledProcessError as error:
            why = (error.stderr.strip() or f"exit code {error.returncode}").splitlines()[-1]
            _log.warning("%s was not audited: %s", adapter, why)
        except (OSError, subprocess.TimeoutExpired) as error:
            _log.warning("%s was not audited: %s", adapter, error)
