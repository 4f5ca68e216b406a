"""A process that delivers the journals it is told to, one at a time, into one tracker.

What it is told comes by stdin, because options may hold credentials; what it says goes to the stdout that it was
started with, so nothing else may write there. It ends when nobody talks to it any more.
"""

import logging
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Final, NoReturn

import msgspec

from gradience import child_process
from gradience.errors import GradienceError
from gradience.mirror import environment, reason, scrubbed
from gradience.mirror.fleet.errand import Answer, Busy, Done, Errand, Hurry, Moved, Refused, Remark, Said, Setup, Told
from gradience.mirror.fleet.visit import pace, visit
from gradience.mirror.sync import sync

# A signal to the whole group is its employer's to answer.
_NOT_MINE: Final = (signal.SIGINT, signal.SIGTERM)
ORPHAN_S: Final = 10.0  # for a worker whose employer is gone: nobody else ends a call that hangs


def main() -> NoReturn:
    """Serve until stdin is closed."""
    for number in _NOT_MINE:
        signal.signal(number, signal.SIG_IGN)
    voice = child_process.voice()
    setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=Setup)
    with scrubbed.output():
        worker = Worker(setup, voice)
        worker.listen(sys.stdin.buffer)
        worker.work()
    os._exit(0)  # a tracker's hooks at exit may block for ever, and every sink is closed


class Worker:
    """Runs errands as they come."""

    def __init__(self, setup: Setup, voice: IO[bytes]) -> None:
        self._setup = setup
        self._voice = voice
        self._state_dir = Path(setup.state_dir) if setup.state_dir is not None else None
        self._errands: queue.SimpleQueue[Errand | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._hurried = threading.Event()
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self._say(Remark(reason.safe(record.getMessage())))  # type: ignore[method-assign]
        logger = logging.getLogger("gradience")
        logger.addHandler(handler)
        logger.propagate = False

    def listen(self, ear: IO[bytes]) -> None:
        """Take errands from a thread of its own; when nobody is there any more, the one at work ends early.

        One that cannot be ended is left where it is, with the whole process.
        """
        threading.Thread(target=self._listen, args=(ear,), name="gradience-ear", daemon=True).start()

    def work(self) -> None:
        """Run every errand."""
        while (errand := self._errands.get()) is not None:
            self._say(self._run(errand))

    def _listen(self, ear: IO[bytes]) -> None:
        for line in ear:
            told: Told = msgspec.json.decode(line, type=Told)
            if isinstance(told, Hurry):
                self._hurried.set()
            else:
                self._errands.put(told)
        self._stopped.set()
        self._hurried.set()
        self._errands.put(None)
        time.sleep(ORPHAN_S)
        os._exit(1)

    def _run(self, errand: Errand) -> Answer:
        try:
            return self._visit(errand) if errand.passing else self._sync(errand)
        except GradienceError as error:
            return Refused(reason.of(error))

    def _sync(self, errand: Errand) -> Answer:
        sink = self._setup.wish.sink()
        environment.enter(sink.process_env)
        outcome = sync(
            Path(errand.journal),
            sink,
            tempo=self._setup.wish.tempo(),
            deadline_s=errand.deadline_s,
            patience_s=errand.patience_s,
            from_start=errand.from_start,
            state_dir=self._state_dir,
            confirm=errand.confirm,
            progress=self._moved,
            stop=self._stopped.is_set,
        )
        return Done(outcome)

    def _visit(self, errand: Errand) -> Answer:
        sink = self._setup.wish.sink()
        environment.enter(sink.process_env)
        bounds = pace(
            self._setup.wish.tempo(),
            deadline_s=errand.deadline_s,
            patience_s=errand.patience_s,
            stop=self._stopped.is_set,
            linger=lambda: errand.linger and not self._hurried.is_set(),
            to_now=not errand.linger,
        )
        outcome = visit(
            Path(errand.journal),
            sink,
            bounds,
            abandoned=errand.abandoned,
            state_dir=self._state_dir,
            progress=self._moved,
        )
        return Busy() if outcome is None else Done(outcome)

    def _moved(self, line: int) -> None:
        self._say(Moved(line))

    def _say(self, said: Said) -> None:
        try:
            self._voice.write(msgspec.json.encode(said) + b"\n")
        except BrokenPipeError:
            self._stopped.set()
