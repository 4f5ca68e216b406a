"""One run of ours, open for delivery: resumed where its last row stands, and ended by its journal alone.

wandb begins the run when there is something to deliver, not before: who resumes a run makes it a running one again.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol

import msgspec
import wandb

from gradience.errors import RejectedError, SinkError, TargetGoneError, TelemetryError, UnavailableError
from gradience.mirror import audits
from gradience.mirror.audits import Audit, Publication
from gradience.mirror.sink import Batch, Position, Tracked
from gradience.vnext.types import RunStatus
from gradience_wandb import artifacts, contents
from gradience_wandb.artifacts import Wanted
from gradience_wandb.contents import STEP, TABLE, Contents, Row
from gradience_wandb.core import Core
from gradience_wandb.faults import plain, translated
from gradience_wandb.known import NO_ROW, ROOT, Expected, Known

log = logging.getLogger("gradience.wandb")

DELIVER_S: Final = 90.0  # a batch, its files and its acknowledgement: less than a side-car's watchdog waits
END_S: Final = 30.0
AT_ONCE_S: Final = 0.001  # after another alert of its title; 0 means a minute
AGAIN_S: Final = 3600.0  # the same for one that may have come through
_UPLOAD_S: Final = 40  # for an audit's files to be on the server
_MOST_VALUES: Final = 100_000  # in one row: a core drops a line of 10 MB without a word


class Memory(Protocol):
    """Where a run can be read back."""

    id: str
    path: str
    url: str | None
    arguments: Mapping[str, Any]
    """Where wandb is to begin the run: what `init` takes of it, its settings under `settings`."""

    def look(self) -> Known | None:
        """The run as it is; None when there is none."""

    def confirm(self, expected: Expected, live: Any) -> str | None:
        """Wait, not for ever, until what was delivered can be read back; why it cannot yet, or None.

        Raises:
            SinkError: it never will, through this core.
        """

    def ends(self) -> bool:
        """Wait, not for ever, until the end of the run can be read back."""

    def settle(self, made: wandb.Artifact, timeout_s: int) -> None:
        """Wait until the files of an artifact are where they should be."""

    def published(self) -> list[Audit]:
        """The audit whose files the run has."""


class Session:
    """The tracked run of one `run_id`, made by us.

    `first` is what wandb makes a new one with; `wanted` are the files that go along.
    """

    def __init__(
        self, core: Core, memory: Memory, known: Known | None, first: Mapping[str, Any], wanted: Wanted
    ) -> None:
        self._core = core
        self._memory = memory
        self._known = known or Known()
        self._first = first
        self._wanted = wanted
        self._live: Any = None
        self._logged = self._noticed = self._in_doubt = NO_ROW
        self._defined: set[str] = set()
        self._audit: Audit | None = None
        self._rejected: Position | None = None
        self._media: tuple[str, ...] = ()
        is_whole = self._known.is_settled and self._known.has_files  # whoever wrote it may have been killed before
        position = self._known.position if is_whole else None
        self._held = position  # what an attempt that failed has left there may lack files and tags
        self.tracked = Tracked(id=memory.path, url=memory.url, position=position)

    def deliver(self, batch: Batch) -> None:
        """Write what the run lacks of a batch, and wait until it can be read back."""
        if self._holds(batch):
            return
        what = f"Delivering lines {batch.records[0].line} to {batch.records[-1].line} to W&B run {self._memory.path}"
        with self._guarded(what, DELIVER_S):
            found = self._write(batch)
            # A core that is stuck, or was told to wait for an hour, never gets over it: another one does.
            if (why := self._confirmed(batch, found)) is not None:
                raise UnavailableError(f"{what}: not confirmed yet: {why}")
        self._audit = next(reversed(audits.of(batch)), self._audit)
        self._held = batch.position
        self._known = _after(self._known, found, batch)
        if self._known.status is not None:
            self._end(self._known.status, END_S)

    def close(self, status: RunStatus | None, timeout_s: float) -> None:
        """End the run if it still goes on and a status is given; let go without a word to W&B otherwise."""
        if status is not None and self._known.line != NO_ROW and self._known.status is None:
            until = time.monotonic() + timeout_s
            with self._guarded(f"Ending W&B run {self._memory.path}", timeout_s):
                self._known = self._memory.look() or self._known
                live = self._begin()
                live.summary[ROOT] = {**self._known.told, "status": status.value}
            self._end(status.value, until - time.monotonic())
        self._drop()

    def _holds(self, batch: Batch) -> bool:
        """Whether the run has all of a batch already, its end included.

        Raises:
            TargetGoneError: it has lines of another file, and W&B never replaces a row.
        """
        known, held = self._known, self._known.position
        differs = held is not None and held.line == batch.position.line and held != batch.position
        if differs or contents.is_of_another_file(batch, known):
            raise TargetGoneError(
                f"W&B run {self._memory.path} holds lines of another file, and W&B replaces no row: delete it, or name "
                "another with --run."
            )
        return known.is_settled and self._held is not None and self._held.line >= batch.position.line

    def _confirmed(self, batch: Batch, found: Contents) -> str | None:
        """Why the batch cannot be read back yet, or None.

        What is refused for good is refused twice: a lonely line that is rejected is never delivered.
        """
        rejected_before, self._rejected = self._rejected, None
        try:
            return self._memory.confirm(_expected(batch, found, self._media), self._live)
        except RejectedError as rejected:
            if rejected_before == batch.position:
                raise
            self._rejected = batch.position
            raise UnavailableError(str(rejected)) from None

    def _begin(self, first: Mapping[str, Any] | None = None) -> Any:
        """The run in wandb's hands; `first` is what one that is new there begins with."""
        if self._live is None:
            new = {**self._first, **(first or {})} if self._known.is_new else {}
            self._live = self._core.init(id=self._memory.id, resume="allow", **self._memory.arguments, **new)
            self._logged = max(self._known.line, self._live.starting_step - 1)
            self._in_doubt = max(self._in_doubt, self._noticed)
            self._noticed = self._logged
            self._defined = set()
            self._live.define_metric(STEP, hidden=True, summary="none")
            self._define(sorted(self._known.keys))
        return self._live

    def _write(self, batch: Batch) -> Contents:
        if self._live is None:
            self._known = self._memory.look() or Known(config=self._first["config"])
        found = contents.contents(batch, self._known)
        if any(len(row.values) > _MOST_VALUES for row in found.rows):
            raise RejectedError(f"a line with more than {_MOST_VALUES} metrics is more than W&B takes")
        first = {"config": found.config or self._first["config"], "tags": found.tags}  # else W&B has them 5 s later
        live = self._begin(first)
        told = {**found.told, **self._publish(batch)}
        self._notify(found)
        self._define(found.keys)
        for row in found.rows:
            self._log(row)
        self._media = artifacts.media(live) if any(row.table for row in found.rows) else ()
        if any(live.config.get(key) != value for key, value in found.config.items()):
            live.config.update(found.config, allow_val_change=True)
        if set(found.tags) != set(live.tags or ()):
            live.tags = found.tags
        live.summary[ROOT] = told
        return msgspec.structs.replace(found, told=told)

    def _log(self, row: Row) -> None:
        if row.line > self._logged:
            values: dict[str, Any] = row.values
            if row.table is not None:
                values = {**values, TABLE: artifacts.table(row.table)}
            self._live.log(values, step=row.line, commit=True)
            self._logged = row.line
        elif row.table is not None:
            artifacts.upload_again(self._live, TABLE, row.table)

    def _notify(self, found: Contents) -> None:
        """Send the alerts of lines that the run does not have: each of them is a message to somebody.

        Whether one came through before its core was given up, nobody can ask: W&B drops it if it did.
        """
        for notice in found.notices:
            if notice.line > self._noticed:
                wait_s = AGAIN_S if notice.line <= self._in_doubt else AT_ONCE_S
                self._live.alert(notice.title, notice.text, notice.level, wait_duration=wait_s)
                self._noticed = notice.line

    def _define(self, keys: Collection[str]) -> None:
        """Give metrics their x-axis before their first row; by name, because a user's patterns count more than ours."""
        for key in keys:
            if key not in self._defined and key != STEP and not key.startswith("_") and "*" not in key:
                self._live.define_metric(key, step_metric=STEP)
        self._defined.update(keys)

    def _publish(self, batch: Batch) -> dict[str, Any]:
        """Put an audit's files and note and the journal on the run, once; what is to be told about them."""
        if batch.records[-1].line <= self._logged:
            return {}
        found = audits.publication(batch, self._audit, self._memory.published) if audits.brings(batch) else None
        made: list[Callable[[], wandb.Artifact]] = []
        if found is not None and self._wanted.has_audit:
            made.append(partial(self._wanted.audit, found, self._memory.id))
        if self._wanted.travels(batch):
            made.append(partial(self._wanted.telemetry, batch, self._memory.id))
        return {**(self._note(found) if found else {}), **(self._upload(made) if made else {})}

    def _note(self, found: Publication) -> dict[str, str]:
        """Write the note, unless a person wrote the one that is there."""
        note, present = found.note, self._known.notes
        if present and contents.mark(present) != self._known.told.get("note"):
            return {}
        self._live.notes = note
        return {"note": contents.mark(note)}

    def _upload(self, made: Iterable[Callable[[], wandb.Artifact]]) -> dict[str, str]:
        """Upload the files; a store that takes none costs the files, never the numbers."""
        refused = [why for make in made if (why := self._refused(make)) is not None]
        if refused:
            return {"artifacts_missing": " ".join(refused)}
        return {"artifacts_missing": "none"} if "artifacts_missing" in self._known.told else {}

    def _refused(self, make: Callable[[], wandb.Artifact]) -> str | None:
        """Upload one artifact; why it is missing, None when it is there."""
        try:
            with translated(f"Uploading files to W&B run {self._memory.path}"):
                self._memory.settle(self._live.log_artifact(make()), _UPLOAD_S)
        except UnavailableError:
            raise
        except (SinkError, TelemetryError) as refused:
            log.warning("%s Metrics and tags are delivered without these files.", refused)
            return plain(refused)
        return None

    def _end(self, status: str, timeout_s: float) -> None:
        """Let W&B know how the run ended, and make sure that it does."""
        what = f"Ending W&B run {self._memory.path}"
        with self._guarded(what, timeout_s):
            self._begin().finish(exit_code=contents.exit_code(status))
            self._live = None
            if not self._memory.ends():
                raise UnavailableError(f"{what}: W&B does not know of it yet.")
        self._known = msgspec.structs.replace(self._known, state="finished")
        self._drop()

    @contextmanager
    def _guarded(self, what: str, limit_s: float) -> Iterator[None]:
        """What fails here leaves no core behind that nobody knows the state of."""
        try:
            with translated(what), self._core.bounded(limit_s, what):
                yield
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        self._live = None
        self._core.end()


def _expected(batch: Batch, found: Contents, files: tuple[str, ...]) -> Expected:
    return Expected(
        position=batch.position,
        row=found.rows[-1].line,
        tags=frozenset(found.tags),
        configured=found.config.get(ROOT, {}).get("configured"),
        files=files,
    )


def _after(known: Known, found: Contents, batch: Batch) -> Known:
    return msgspec.structs.replace(
        known,
        line=max(known.line, batch.records[-1].line),
        config={**known.config, **found.config},
        told=found.told,
        tags=found.tags,
        state="running",
    )
