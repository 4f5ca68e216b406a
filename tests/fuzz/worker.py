"""A process that audits one directory after another, and its keeper, who ends it when it hangs.

The process measures what each audit costs it: seconds, and the highest resident memory above what it held before.
"""

import json
import multiprocessing
import os
import resource
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import click
import msgspec

from gradience.audit.record import AuditRecord

HANG_S: Final = 5.0
GROWTH_MIB: Final = 500
_SPACE: Final = 4 << 30  # bytes of addresses beyond the start: what asks for more is refused by the kernel, not granted
_TRIES: Final = 3  # a busy machine is slow too: what hangs must hang every time


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one audit: a record, a refusal, or else a traceback."""

    record: AuditRecord | None = None
    refusal: str | None = None
    failure: str | None = None
    seconds: float = 0.0
    growth_mib: float = 0.0


class Keeper:
    """Keeps one worker alive and answers within a bounded time."""

    def __init__(self, *, hang_s: float = HANG_S) -> None:
        self._hang_s = hang_s
        self._start()

    def audit(self, folder: Path) -> Outcome:
        """The outcome for the adapter in `folder`."""
        for _ in range(_TRIES):
            outcome = self._ask(folder)
            if outcome is not None and outcome.seconds <= self._hang_s:
                return outcome
        return outcome or Outcome(failure=f"no answer within {self._hang_s} s", seconds=self._hang_s)

    def close(self) -> None:
        """End the worker."""
        self._process.kill()
        self._process.join()
        self._ours.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._ours.recv_bytes()  # it has imported everything

    def _ask(self, folder: Path) -> Outcome | None:
        try:
            self._ours.send_bytes(os.fsencode(folder))
            if self._ours.poll(self._hang_s + 1):
                return msgspec.msgpack.decode(self._ours.recv_bytes(), type=Outcome)
        except (EOFError, OSError):
            self.close()
            self._start()
            return Outcome(failure=f"the process died ({self._process.exitcode})")
        self.close()
        self._start()
        return None


def _serve(pipe: Connection) -> None:
    from gradience.audit.spectra import survey  # noqa: F401 - torch must not count as the first audit's memory

    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (_status_kib("VmSize") * 1024 + _SPACE, resource.RLIM_INFINITY))
    pipe.send_bytes(b"ready")
    while True:
        folder = Path(os.fsdecode(pipe.recv_bytes()))
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        before, start = _status_kib("VmRSS"), time.monotonic()
        outcome = _audited(folder)
        spent, growth = time.monotonic() - start, (_status_kib("VmHWM") - before) / 1024
        outcome = msgspec.structs.replace(outcome, seconds=spent, growth_mib=growth)
        pipe.send_bytes(msgspec.msgpack.encode(outcome))


def _audited(folder: Path) -> Outcome:
    from gradience.audit import audit
    from gradience.errors import GradienceError

    try:
        record = audit(folder)
        return Outcome(record=record, failure=_shown(record))
    except GradienceError as error:
        return Outcome(refusal=str(error))
    except BaseException:  # noqa: BLE001 - whatever it is, it is what this harness looks for
        return Outcome(failure=traceback.format_exc())


def _shown(record: AuditRecord) -> str | None:
    """What is wrong with the report: nothing in a file may steer the terminal that it is printed on."""
    from gradience.cli import audit_view
    from gradience.policy.advice import advise

    view = audit_view.View(
        layers=True, top=3, sort=None, glob=None, per_layer=True, form=None, json_given=False, verbose=True
    )
    advice = advise(record)
    json.dumps(audit_view.document(record, advice, view), allow_nan=False).encode()
    lines = click.unstyle(audit_view.text(record, advice, view)).split("\n")
    return next((f"an unprintable line: {line!r}" for line in lines if not line.isprintable()), None)


def _status_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(field)
