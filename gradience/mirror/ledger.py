"""The cursor of a drain at work: what was passed, which run stands where, and whether journal and tracker agree."""

import logging
import time

import msgspec

from gradience.errors import ReplacedError
from gradience.mirror.cursor import Cursor, CursorFile, Delivery, Mark
from gradience.mirror.groups import Group, parse
from gradience.mirror.sink import Batch, Position, Run, Sink, Tracked
from gradience.mirror.tail import Tail
from gradience.vnext.journal import Line
from gradience.vnext.record import Record
from gradience.vnext.types import RunStart

log = logging.getLogger("gradience.mirror")


class Ledger:
    """Moves a journal's place and its saved cursor together."""

    def __init__(self, tail: Tail, sink: Sink, store: CursorFile) -> None:
        self._tail = tail
        self._store = store
        self._starts: dict[str, RunStart] = {}
        self._dirty = self._is_unsaved = False
        self.cursor = Cursor(
            journal=str(tail.path.resolve()), sink=sink.name, target=sink.target, fingerprint=tail.fingerprint
        )

    def resume(self) -> None:
        """Go to where the saved cursor stands, if there is one.

        Raises:
            ChangedError: the journal is not the one that was delivered.
        """
        saved = self._store.load()
        if saved is not None:
            for line in self._tail.seek(saved.line, saved.fingerprint):
                self._learn(line)
            self.cursor = msgspec.structs.replace(saved, journal=self.cursor.journal)

    def restart(self) -> None:
        """Begin with the first line, and trust no memory until the end is reached."""
        self.cursor = msgspec.structs.replace(self.cursor, from_start=True)
        self._dirty = True

    def run(self, group: Group) -> Run:
        """What a sink needs to find or create the tracked run of a group."""
        run_id = group.run_id
        for record in group.records:
            self._meet(record)
        start, mark = self._starts.get(run_id), self._mark(group)
        return Run(
            run_id=run_id,
            journal=self.cursor.journal,
            started=mark.started,
            config=start.config if start else {},
            meta=start.meta if start else {},
            tracked=mark.tracked,
            state_dir=str(self._store.path.parent),
        )

    def attach(self, group: Group, tracked: Tracked) -> None:
        """Take note of a run that a sink has opened, and of the lines that its tracker already holds.

        Raises:
            ReplacedError: the tracker's memory of this journal contradicts the journal or the cursor.
        """
        mark = self._mark(group)
        line = mark.line if self.cursor.from_start else self._agreed(group.run_id, mark, tracked)
        seen = {"url": tracked.url, "viewer": tracked.viewer, "upload": tracked.upload}
        self._put(group.run_id, msgspec.structs.replace(mark, tracked=tracked.id, line=line, **seen))

    def abandoned(self, group: Group) -> list[Run]:
        """Tracked runs without an end that are over, as the group shows: the one recorder of a file began another."""
        if not any(isinstance(record.event, RunStart) for record in group.records):
            return []
        return [
            self._store.run(self.cursor, run_id)
            for run_id, mark in self.cursor.runs.items()
            if mark.history.unended and mark.tracked is not None and run_id != group.run_id
        ]

    def ended(self, run: Run) -> None:
        """Take note that an abandoned run was ended in its tracker."""
        mark = self.cursor.runs[run.run_id]
        history = msgspec.structs.replace(mark.history, unended=False)
        self._put(run.run_id, msgspec.structs.replace(mark, history=history))

    def told(self, group: Group) -> int:
        """The last line of the group's run that the tracker holds; 0 for none."""
        return self._mark(group).line

    def batch(self, group: Group) -> Batch:
        """The delivery of a group that comes next."""
        last, history = group.records[-1].line, self._mark(group).history
        return Batch(
            records=group.records,
            position=Position(last, self._tail.fingerprint_after(group.upto(last).lines)),
            alerts=history.alerts,
            advised=history.advised,
            verified=history.verified,
            nonfinite=history.nonfinite,
            ended=history.ended,
        )

    def delivered(self, group: Group) -> None:
        """Pass a group that the tracker has taken, durably."""
        mark = self._mark(group)
        self._put(group.run_id, msgspec.structs.replace(mark, line=group.records[-1].line))
        self.passed(group)
        self.note(Delivery.BEHIND)
        self.save()

    def passed(self, group: Group) -> None:
        """Pass a group; it is saved with the next one that is delivered, or at the end."""
        if group.records:
            mark = self._mark(group)
            history = mark.history
            for record in group.records:
                history = history.after(record)
            self._put(group.run_id, msgspec.structs.replace(mark, history=history))
        self._tail.advance(group.lines)
        self.cursor = msgspec.structs.replace(
            self.cursor, offset=self._tail.offset, line=self._tail.line, fingerprint=self._tail.fingerprint
        )
        self._dirty = True

    def note(self, state: Delivery, error: str | None = None) -> None:
        """Change what the cursor says about its target."""
        from_start = self.cursor.from_start and state is not Delivery.UP_TO_DATE
        noted = msgspec.structs.replace(self.cursor, state=state, error=error, from_start=from_start, replaced=False)
        self._dirty = self._dirty or noted != self.cursor
        self.cursor = noted

    def save(self) -> None:
        """Save what has changed; without a disk to save on, the tracker's own memory of its position must do."""
        if not self._dirty:
            return
        self.cursor = msgspec.structs.replace(self.cursor, updated=time.time())
        try:
            self._store.save(self.cursor)
            self._dirty = self._is_unsaved = False
        except OSError as error:
            if not self._is_unsaved:
                log.warning("Cannot save cursor %s: %s.", self._store.path, error.strerror)
            self._is_unsaved = True

    def _mark(self, group: Group) -> Mark:
        return self.cursor.runs.get(group.run_id) or Mark(started=group.records[0].event.ts)

    def _put(self, run_id: str, mark: Mark) -> None:
        self.cursor = msgspec.structs.replace(self.cursor, runs={**self.cursor.runs, run_id: mark})
        self._dirty = True

    def _learn(self, line: Line) -> None:
        if b'"run_start"' in line.raw and (record := parse(line)):
            self._meet(record)

    def _meet(self, record: Record) -> None:
        if isinstance(record.event, RunStart):
            self._starts.setdefault(record.event.run_id, record.event)

    def _agreed(self, run_id: str, mark: Mark, tracked: Tracked) -> int:
        """The last line that cursor and tracker both account for."""
        position = tracked.position
        if mark.tracked not in (None, tracked.id):
            raise self._contradiction(run_id, tracked, f"its first {mark.line} lines went to {mark.tracked}")
        if position is None or position.line == mark.line:
            return mark.line
        if position.line < mark.line:
            raise self._contradiction(run_id, tracked, f"holds lines up to {position.line}, not {mark.line}")
        if self._tail.fingerprint_at(position.line) != position.fingerprint:
            raise self._contradiction(
                run_id, tracked, f"holds {position.line} lines of a file that differs from this one"
            )
        return position.line

    def _contradiction(self, run_id: str, tracked: Tracked, what: str) -> ReplacedError:
        return ReplacedError(
            f"Cannot go on delivering {self._tail.path}: run {run_id} is tracked as {tracked.id}, which {what}. "
            "If the file or the tracked run was replaced on purpose, deliver everything with --from-start."
        )
