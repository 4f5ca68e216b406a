"""The contract between the journal and a tracker: three methods and three errors.

A sink is used by one drain at a time. It never sees a line twice unless the first delivery was in doubt, and it must
leave the tracker the same whether a line came once or twice.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import msgspec

from gradience.mirror.verified import Verified
from gradience.vnext.record import Record
from gradience.vnext.types import RunStatus


class Position(msgspec.Struct, frozen=True):
    """How far a journal was delivered: the last line (from 1) and the fingerprint of everything up to its end."""

    line: int
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.line}:{self.fingerprint}"

    @classmethod
    def parse(cls, text: str) -> "Position | None":
        """Read what `str` wrote; None when it is not that."""
        line, _, fingerprint = text.partition(":")
        return cls(int(line), fingerprint) if line.isdigit() and fingerprint else None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink needs to find or create the tracked run of one `run_id`."""

    run_id: str
    journal: str  # absolute path of the telemetry file
    started: float  # Unix seconds of the run's first line
    config: dict[str, Any] = {}  # of its first run_start, if it has been seen
    meta: dict[str, Any] = {}
    tracked: str | None = None  # the cursor's record of the tracked run
    state_dir: str | None = None  # the folder of the cursor: room for what a tracker cannot remember by itself


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """The tracked run that a sink opened."""

    id: str
    url: str | None = None
    viewer: str | None = None  # the command that makes `url` answer, where nothing serves the tracker by itself
    upload: str | None = None  # the command that brings it to the tracker's server, where `url` is but a folder here
    position: Position | None = None  # as the tracker itself remembers it, for a journal that lost its cursor

    @property
    def hint(self) -> str | None:
        """What to do before the run can be seen as `url` promises, if anything."""
        if self.url and self.viewer:
            return f"served by: {self.viewer}"
        return f"once online: {self.upload}" if self.url and self.upload else None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive lines of one run, oldest first."""

    records: tuple[Record, ...]
    position: Position  # after the last of them
    alerts: dict[str, int] = {}  # alerts of this run before this batch, by severity
    advised: int | None = None  # the highest step that advice or a verification before this batch spoke about
    verified: Mapping[str, Verified] = {}  # those of this run before this batch, by the adapter's fingerprint
    nonfinite: frozenset[str] = frozenset()  # metrics of this run that were non-finite before this batch
    ended: bool = False  # this run had come to its end before this batch, and not gone on
    names: Mapping[str, str] = {}  # what to call metrics that are not to have the name of `view`


class Sink(Protocol):
    """One tracker.

    Constructing a sink costs nothing and imports no tracker. `open` and `deliver` raise `UnavailableError` (try
    later), `RejectedError` (this item never) or `TargetGoneError` (park). `InputError` and `ExtraMissingError` end the
    drain and reach the person who asked for it. Anything else is taken as a fault of the batch.

    A sink may also have a method `active_run`. It is called in a recorder's process, where it must import nothing, and
    returns constructor options: those that lead a sink in another process to the run that is active in this one, its
    id as `active_run`, or to a place beside it; none where nothing is active.

    And one `in_process(tracked: str | None) -> bool`: whether what it would attach to is an object of this process, so
    that no other may deliver. `tracked` is where the run is tracked so far, if anywhere. It imports nothing, either.
    """

    name: ClassVar[str]
    process_env: ClassVar[Mapping[str, str | None]]
    """Environment that a process of the sink's own sets before `open`: its bounds on time and retries.

    None removes a variable that would lead the tracker's library astray there.
    """

    @property
    def target(self) -> str:
        """Address and, after `#`, experiment; absolute and without credentials.

        Two sinks with one target share a cursor, and one of several with the same address delivers at a time.
        """

    def open(self, run: Run) -> Tracked:
        """Attach to the tracked run of `run`, or create it; later deliveries go there.

        May be called again, also after `close`.
        """

    def deliver(self, batch: Batch) -> None:
        """Write the batch and its position, all or nothing; the same batch may come again."""

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """Let go within `timeout_s`; a status ends the tracked run, if this sink made it."""
