"""The side-car: a process beside the recorder that delivers to one tracker, so that training never waits for it.

Its spec comes by stdin, because options may hold credentials and everybody can read a command line. Everything that
it has to say to its recorder stands in the cursor.
"""

import faulthandler
import logging
import os
import signal
import sys
import tempfile
from typing import Final, NoReturn

import msgspec

from gradience import child_process
from gradience.errors import GradienceError
from gradience.mirror import environment, reason, scrubbed
from gradience.mirror.cursor import CursorFile, Delivery
from gradience.mirror.live.follow import follow, note
from gradience.mirror.live.spec import Spec
from gradience.mirror.live.vigil import Vigil
from gradience.mirror.sink import Sink
from gradience.mirror.watchdog import Watchdog

log = logging.getLogger("gradience.mirror")

PARKED: Final = 10  # exit code: only a person can mend it, so it is of no use to start again


def main() -> NoReturn:
    """Serve the spec on stdin, and end with an exit code."""
    spec = msgspec.json.decode(child_process.told(), type=Spec)
    with scrubbed.output():
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
        code = _code(spec)
        logging.shutdown()
    os._exit(code)  # a tracker's hooks at exit may block for ever, and the sink is closed


def _code(spec: Spec) -> int:
    try:
        return _serve(spec)
    except GradienceError as error:
        log.error("%s: %s", spec.wish.label, reason.of(error))  # noqa: TRY400 - it says what to do; a trace would hide that
        return PARKED
    except Exception:
        log.exception("%s: delivery failed", spec.wish.label)  # here, where secrets in the trace are masked
        return 1


def _serve(spec: Spec) -> int:
    sink = spec.wish.sink()
    store = CursorFile(spec.path, sink.name, sink.target, spec.state)
    environment.enter(sink.process_env)
    watchdog = Watchdog(spec.terms.call_s, lambda: _renew(spec, sink, store, vigil))
    vigil = Vigil(spec, heard=watchdog.feed)
    signal.signal(signal.SIGTERM, lambda *_: vigil.leave())
    log.info("process %d delivers %s to %s", os.getpid(), spec.journal, sink.target)
    with watchdog:
        state = follow(spec, sink, store, vigil)
    log.info("process %d leaves: %s", os.getpid(), state.value)
    return PARKED if state is Delivery.PARKED else 0


def _renew(spec: Spec, sink: Sink, store: CursorFile, vigil: Vigil) -> NoReturn:
    """End a call that nobody can interrupt: this process begins anew, where its cursor stands."""
    try:
        why = f"no answer for {spec.terms.call_s:.0f} s"
        log.error("%s: %s, starting again; it hung here:", sink.name, why)
        faulthandler.dump_traceback()
        child_process.end_children()  # a tracker's helper that hangs, too, would stay for ever
        note(spec, sink, store, Delivery.UNAVAILABLE, why)
        if not vigil.told:
            _hand_on(msgspec.structs.replace(spec, idle_since=vigil.idle_since))
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - the same command once more, without a shell
    finally:
        os._exit(1)  # it was to leave anyway; or there is nothing to begin with, and whoever watches starts another


def _hand_on(spec: Spec) -> None:
    """Put the spec on stdin, for the process image that follows; a pipe would not hold a long one."""
    with tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode(spec))
        file.seek(0)
        os.dup2(file.fileno(), 0)
