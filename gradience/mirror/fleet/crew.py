"""A few worker processes that share the journals of one command: each serves one at a time, and starts when needed.

The tracker's library stays in the workers, so that one that hangs can be ended without harm to the others.
"""

import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Final, Protocol

import msgspec

from gradience.mirror.fleet.errand import Answer, Errand, Hurry, Lost, Moved, Refused, Remark, Said, Setup, Told
from gradience.mirror.watchdog import Watchdog

log = logging.getLogger("gradience.mirror")

HUNG_S: Final = 30.0  # past an errand's bounds: longer than any call that a sink's process_env allows
IDLE_S: Final = 30.0  # a worker with nothing to do for so long gives its memory back
LEAVE_S: Final = 5.0  # for a worker with nothing to do to be gone
REPEAT_S: Final = 60.0  # what goes on is said this often
# The working directory stays off sys.path, where a folder of runs called "mlflow" would hide the library; Python 3.10
# has no -P for that.
_PROGRAM: Final = """
import sys
if sys.path[0] == "":
    del sys.path[0]
from gradience.mirror.fleet import worker
worker.main()
"""


class Agenda(Protocol):
    """What there is to do; called from the threads of a crew."""

    def take(self, wait_s: float) -> Errand | None:
        """The next errand; None when there is none within `wait_s`."""

    def moved(self, errand: Errand, line: int) -> None:
        """A line of its journal was passed."""

    def done(self, errand: Errand, answer: Answer) -> None:
        """It was run."""

    def is_over(self) -> bool:
        """Whether no errand will come any more."""


class Crew:
    """Works off an agenda with up to `size` workers."""

    def __init__(self, setup: Setup, agenda: Agenda, size: int) -> None:
        self._agenda = agenda
        remarks = _Remarks()
        self._hands = [_Hand(setup, remarks) for _ in range(size)]
        self._threads = [
            threading.Thread(target=self._work, args=(hand,), name=f"gradience-crew-{number}", daemon=True)
            for number, hand in enumerate(self._hands, 1)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Whether all work is done, at the latest after a while."""
        for thread in self._threads:
            thread.join(timeout_s / len(self._threads))
        return not any(thread.is_alive() for thread in self._threads)

    def hurry(self) -> None:
        """Let nobody wait for what is not there yet."""
        for hand in self._hands:
            hand.hurry()

    def end(self) -> None:
        """End every worker now; what it had delivered stays delivered."""
        for hand in self._hands:
            hand.end()

    def _work(self, hand: "_Hand") -> None:
        while not self._agenda.is_over():
            errand = self._agenda.take(IDLE_S)
            if errand is None:
                hand.dismiss()
            else:
                self._agenda.done(errand, hand.run(errand, self._agenda.moved))
        hand.dismiss()


class _Hand:
    """One worker process, started anew when it is needed and not there."""

    def __init__(self, setup: Setup, remarks: "_Remarks") -> None:
        self._setup = setup
        self._remarks = remarks
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = threading.Lock()  # of the process: it is told to hurry, and killed, from other threads
        self._hurried = self._ended = False

    def run(self, errand: Errand, moved: Callable[[Errand, int], None]) -> Answer:
        """Have an errand run; a worker that hangs or dies over it is given up."""
        limit_s = HUNG_S + max(bound or 0.0 for bound in (errand.deadline_s, errand.patience_s))
        bitten = threading.Event()

        def bite() -> None:
            bitten.set()
            self._kill()

        try:
            with Watchdog(limit_s, bite) as watchdog:
                answer = self._hear(self._tell(errand), errand, moved, watchdog)
        except UnicodeEncodeError:
            return Refused(f"cannot deliver {errand.journal}: its name is no UTF-8; rename it")
        except OSError as error:
            answer = Lost(f"its process cannot be reached: {error.strerror or error}")
        except msgspec.DecodeError as error:
            answer = Lost(f"its process talks nonsense: {error}")
        if isinstance(answer, Lost):
            self.dismiss()
        return Lost(f"no answer for {limit_s:.0f} s") if bitten.is_set() else answer

    def hurry(self) -> None:
        """Have it linger no more, from now on."""
        self._hurried = True
        with self._guard, contextlib.suppress(OSError):
            if self._process is not None:
                _write(self._process, Hurry())

    def dismiss(self) -> None:
        """Let a worker that has nothing to do go."""
        with self._guard:
            process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            _pipe(process.stdin).close()
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipe(process.stdout).close()

    def end(self) -> None:
        """End it, and start none any more."""
        self._ended = True
        self._kill()

    def _hear(
        self,
        process: "subprocess.Popen[bytes]",
        errand: Errand,
        moved: Callable[[Errand, int], None],
        watchdog: Watchdog,
    ) -> Answer:
        while (line := _pipe(process.stdout).readline()).endswith(b"\n"):
            said: Said = msgspec.json.decode(line, type=Said)
            if isinstance(said, Moved):
                if errand.deadline_s is None:
                    watchdog.feed()
                moved(errand, said.line)
            elif isinstance(said, Remark):
                self._remarks.say(said.text)
            else:
                return said
        return Lost("its process has ended")

    def _tell(self, errand: Errand) -> "subprocess.Popen[bytes]":
        with self._guard:
            self._process = self._process or self._start()
            _write(self._process, errand)
            return self._process

    def _start(self) -> "subprocess.Popen[bytes]":
        if self._ended:
            raise OSError("the command is over")
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at a terminal is not for it
        )
        _write(process, self._setup)
        if self._hurried:
            _write(process, Hurry())
        return process

    def _kill(self) -> None:
        with self._guard:
            if self._process is not None:
                self._process.kill()


class _Remarks:
    """What workers log, said here: the same words once a minute, whoever has them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._said: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Log it, unless somebody just did."""
        now = time.monotonic()
        with self._guard:
            self._said = {known: at for known, at in self._said.items() if now - at < REPEAT_S}
            is_new = self._said.setdefault(text, now) == now
        if is_new:
            log.warning("%s", text)


def _write(process: "subprocess.Popen[bytes]", told: Setup | Told) -> None:
    pipe = _pipe(process.stdin)
    pipe.write(msgspec.json.encode(told) + b"\n")
    pipe.flush()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise OSError("the process was started without a pipe")
    return pipe
