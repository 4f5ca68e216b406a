"""One recording under trouble: its trainer, its side-cars, and what becomes of them."""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from gradience.mirror.cursor import Cursor
from gradience.mirror.live.spec import Terms
from gradience.vnext import journal, state
from tests.integrations.faults import processes, seen, trainer
from tests.integrations.faults.table import Row
from tests.integrations.faults.trainer import Close, Done, Order, Steps

ANSWER_S: Final = 120.0
TERMS: Final = Terms(poll_s=0.2, grace_s=0.5, linger_s=120.0, leave_s=10.0, mend_s=3.0, call_s=60.0)
LOOK_S: Final = 0.25  # between two looks at all processes there are
OUTAGE_S: Final = 6.0  # after a first attempt has met the fault
STALL_S: Final = 0.5  # a train_step that waited for a tracker would take seconds
SLACK_S: Final = 2.0  # for a busy machine, on top of a deadline
GROWTH_KIB: Final = 24 * 1024  # one batch of a thousand lines in JSON and as MLflow's objects, twice over


class Recording:
    """A trainer process that records into `folder`, whose name is the run's id, and is mirrored to `sink`.

    And into another one `beside` it, if that is given. `env` adds to the environment, or removes from it. What the
    trainer says goes to a file in `log`, else in `folder`. `helpers` finds the processes that its side-cars started.
    """

    def __init__(
        self,
        folder: Path,
        sink: Mapping[str, Any],
        *,
        env: Mapping[str, str | None] | None = None,
        path: Path | None = None,
        log: Path | None = None,
        beside: Mapping[str, Any] | None = None,
        helpers: Callable[[], list[int]] = list,
        **order: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.path = path or folder / "run.jsonl"
        self.run_id = folder.name
        self.sink = dict(sink)
        self.order = Order(
            journal=str(self.path),
            run_id=self.run_id,
            sinks=[self.sink] if beside is None else [self.sink, dict(beside)],
            **{"terms": TERMS, "close_timeout_s": 3.0, **order},
        )
        self._env = _environment(env or {})
        self._helpers = helpers
        self._said = (log or folder) / "trainer.log"
        self._answers: queue.Queue[bytes] = queue.Queue()
        self.longest_s = 0.0
        self.peak_kib = self.lost = 0
        self._start()

    @property
    def state(self) -> Path:
        """The folder of cursors and dead letters."""
        if home := self._env.get("XDG_STATE_HOME"):
            return next(Path(home).glob("gradience/*"))
        given = self.order.state_dir
        return state.folder(self.path, Path(given) if given is not None else None)

    @property
    def cursor(self) -> Cursor | None:
        """How far the mirror has come."""
        return self.cursor_of("*")

    def cursor_of(self, sink: str) -> Cursor | None:
        """How far that of one sink has come, by its name."""
        for file in self.state.glob(f"{sink}-*.json"):
            return msgspec.json.decode(file.read_bytes(), type=Cursor)
        return None

    @property
    def delivered(self) -> int:
        """The last line that was passed."""
        return cursor.line if (cursor := self.cursor) else 0

    @property
    def said(self) -> str:
        """What the trainer's person could read."""
        return self._said.read_text()

    @property
    def log(self) -> str:
        """What its side-cars said."""
        return "".join(file.read_text() for file in self.state.glob("*.log"))

    def lines(self) -> int:
        """How many lines the journal has, whole or torn."""
        return sum(1 for _ in journal.read(self.path))

    def sidecars(self) -> list[int]:
        """The processes that deliver this journal now, or are about to."""
        return [pid for pid in processes.naming(str(self.path)) if pid != self.process.pid]

    def record(self, count: int, pause_s: float = 0.0) -> Done:
        """Record steps, and wait for their end."""
        self.say(Steps(count, pause_s))
        return self.recorded()

    def recorded(self) -> Done:
        """Wait for the end of steps that were asked for."""
        done = self.hear()
        self.longest_s = max(self.longest_s, done.longest_s)
        return done

    def close(self) -> Done:
        """End the recording as its own program does."""
        self.say(Close())
        done = self.hear()
        self.process.wait(ANSWER_S)
        return done

    def say(self, what: Steps | Close) -> None:
        """Have the trainer begin something."""
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(what) + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Done:
        """Wait for its answer."""
        done = msgspec.json.decode(self._answers.get(timeout=ANSWER_S), type=Done)
        self.lost = done.lost
        return done

    def memory_kib(self) -> int:
        """What its side-cars and their helpers have in RAM now; the peak is kept, too."""
        now = sum(map(processes.resident_kib, [*self.sidecars(), *self._helpers()]))
        self.peak_kib = max(self.peak_kib, now)
        return now

    def stay(self, seconds: float) -> None:
        """Let time pass, watching memory."""
        until(lambda: self.memory_kib() < 0, seconds, must=False, pause_s=LOOK_S)

    def see_off(self) -> None:
        """Wait until nothing delivers any more, which the terms of the side-car bound."""
        terms = self.order.terms
        gone = until(
            lambda: self.memory_kib() == 0 and not self.sidecars(),
            terms.linger_s + terms.call_s + terms.leave_s + 20.0,
            must=False,
            pause_s=LOOK_S,
        )
        left = self.sidecars()
        processes.end(left)
        assert gone, f"side-cars are left behind: {left}\n{self.log}"

    def sync(
        self, *options: str, deadline_s: float = 240.0, env: Mapping[str, str] | None = None, **sink: str
    ) -> "subprocess.CompletedProcess[str]":
        """Catch up by hand, as the log recommends."""
        return subprocess.run(
            [*self.sync_command(**sink), *options, "--deadline", str(deadline_s)],
            capture_output=True,
            text=True,
            check=False,
            timeout=deadline_s + 60.0,
            env={**self._env, **(env or {})},
        )

    def sync_command(self, **sink: str) -> list[str]:
        """What does that, without its deadline."""
        flags = [part for key, value in {**self.sink, **sink}.items() for part in (f"--{key.replace('_', '-')}", value)]
        flags[0] = "--to"  # the sink's type comes first
        where = ["--state-dir", self.order.state_dir] if self.order.state_dir else []
        return [sys.executable, "-m", "gradience", "sync", str(self.path), *flags, *where]

    def end(self) -> None:
        """End whatever still runs."""
        self.let_go()
        processes.end(self.sidecars())

    def let_go(self) -> None:
        """End the trainer alone."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def row(self, fault: str, held: seen.Seen, **more: Any) -> Row:
        """The line of the table: what was appended against what is held."""
        return self.told(fault, seen.account(self.path, self.state, held), **more)

    def told(self, fault: str, account: seen.Account, **more: Any) -> Row:
        """The same of an account that somebody else made."""
        return Row(fault=fault, account=account, longest_s=self.longest_s, **more)

    def _start(self) -> None:
        command = [sys.executable, trainer.__file__, msgspec.json.encode(self.order).decode()]
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=self._env,
                cwd=self.folder,
                start_new_session=True,
            )
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._answers.put(line)


def _environment(given: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in {**os.environ, **given}.items() if value is not None}


@contextmanager
def recording(folder: Path, sink: Mapping[str, Any], **order: Any) -> Iterator[Recording]:
    """A recording that has begun, and of which nothing is left in the end."""
    made = Recording(folder, sink, **order)
    try:
        made.hear()
        yield made
    finally:
        made.end()


def until(done: Callable[[], bool], seconds: float = 180.0, *, must: bool = True, pause_s: float = 0.05) -> bool:
    """Wait for something; whether it came about."""
    limit = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= limit:
            assert not must, "it did not come about"
            return False
        time.sleep(pause_s)
    return True
