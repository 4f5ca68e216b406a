"""A tracker in memory, and the honest sink that delivers to it: rows by line number, so that twice is once."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from gradience.errors import RejectedError, TargetGoneError, UnavailableError
from gradience.mirror.sink import Batch, Position, Run, Tracked
from gradience.vnext.record import Record
from gradience.vnext.types import RunStatus


class Fault(Enum):
    """What one call to the tracker meets."""

    NONE = "the call succeeds"
    REFUSED = "unavailable, before anything was written"
    REPLY_LOST = "unavailable, after everything was written"
    BROKEN = "an exception of no known kind, before anything was written"
    GONE = "the tracked run is gone"
    KILLED = "the delivering process dies before anything was written"
    KILLED_AFTER = "the delivering process dies after everything was written"


class Killed(BaseException):
    """The delivering process was killed here: nothing of it may act on this."""


@dataclass
class MemoryRun:
    """One tracked run: the lines it holds, by their number."""

    id: str
    rows: dict[int, bytes] = field(default_factory=dict)
    position: Position | None = None
    status: RunStatus | None = None


class MemoryTracker:
    """What outlives every sink. Each call takes the next of `faults`; `rejects` says which events are never taken.

    `complaints` collects what a drain got wrong: lines of another run, out of order, or changed since.
    """

    def __init__(self, faults: Iterable[Fault] = (), rejects: Callable[[Record], bool] = lambda _record: False) -> None:
        self.faults = deque(faults)
        self.rejects = rejects
        self.runs: dict[str, MemoryRun] = {}
        self.complaints: list[str] = []
        self.calls = 0

    def call(self, write: Callable[[], None]) -> None:
        """Write, unless this call's fault has it otherwise."""
        self.calls += 1
        fault = self.faults.popleft() if self.faults else Fault.NONE
        if fault in (Fault.NONE, Fault.REPLY_LOST, Fault.KILLED_AFTER):
            write()
        if fault in (Fault.KILLED, Fault.KILLED_AFTER):
            raise Killed
        if fault in (Fault.REFUSED, Fault.REPLY_LOST):
            raise UnavailableError(fault.value)
        if fault is Fault.GONE:
            raise TargetGoneError(fault.value)
        if fault is Fault.BROKEN:
            raise RuntimeError(fault.value)

    def write(self, run_id: str, batch: Batch) -> None:
        """Keep the lines of a batch and its position."""
        run = self.runs[run_id]
        for record in batch.records:
            if run.rows.setdefault(record.line, record.raw) != record.raw:
                self.complaints.append(f"line {record.line} came again with another text")
        run.position = batch.position


class MemorySink:
    """A sink that keeps every promise of the contract; sinks of one tracker share what it holds."""

    name: ClassVar[str] = "memory"
    process_env: ClassVar[Mapping[str, str | None]] = {}

    def __init__(self, tracker: MemoryTracker | None = None) -> None:
        self.tracker = tracker or MemoryTracker()
        self._open: str | None = None

    @property
    def target(self) -> str:
        """One memory is one target."""
        return "memory:"

    def probe(self, timeout_s: float) -> str:  # noqa: ARG002 - memory never blocks
        """How many runs are remembered."""
        self.tracker.call(lambda: None)
        return f"a memory of {len(self.tracker.runs)} runs"

    def open(self, run: Run) -> Tracked:
        """Find the run by its id, or create it."""
        runs = self.tracker.runs
        self.tracker.call(lambda: _keep(runs, run.run_id))
        self._open = run.run_id
        found = runs[run.run_id]
        return Tracked(id=found.id, url=f"memory:{found.id}", position=found.position)

    def deliver(self, batch: Batch) -> None:
        """Keep every line of the batch, or none."""
        opened = self._opened()
        lines = [record.line for record in batch.records]
        if {record.event.run_id for record in batch.records} != {opened} or lines != sorted(set(lines)):
            self.tracker.complaints.append(f"lines {lines} are not in order or not all of run {opened}")
        if rejected := [record.line for record in batch.records if self.tracker.rejects(record)]:
            raise RejectedError(f"line {rejected[0]} is not acceptable")
        self.tracker.call(lambda: self.tracker.write(opened, batch))

    def close(self, status: RunStatus | None, timeout_s: float) -> None:  # noqa: ARG002 - memory never blocks
        """Let go; a status ends the run."""
        if status is not None and self._open is not None:
            self.tracker.runs[self._open].status = status
        self._open = None

    def _opened(self) -> str:
        if self._open is None:
            raise RuntimeError("deliver was called before open")
        return self._open


def _keep(runs: dict[str, MemoryRun], run_id: str) -> None:
    runs.setdefault(run_id, MemoryRun(id=f"memory-{len(runs) + 1}"))
