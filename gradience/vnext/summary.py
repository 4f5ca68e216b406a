"""The fold behind `summarize` and `monitor`: one pass over a file, bounded memory, one state per run."""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from gradience.vnext.record import Record
from gradience.vnext.run_fold import RunFold
from gradience.vnext.signals import AlertSeen, Issue, NonfiniteSeen, RunInfo, SignalSnapshot

__all__ = ["AlertSeen", "Issue", "NonfiniteSeen", "RunInfo", "SignalSnapshot", "Summary"]

MAX_ISSUES: Final = 1000  # kept in full; the rest is counted


class Summary:
    """What has been seen of a file so far: add its records in order, ask at any time.

    `on_issue` is told of every issue as it is found, and may raise.
    """

    def __init__(self, on_issue: Callable[[Issue], None] | None = None) -> None:
        self._on_issue = on_issue
        self.issues: list[Issue] = []
        self.issue_count = 0
        self._runs: dict[str, RunFold] = {}
        self._latest: RunFold | None = None  # the run that started last
        self._run: RunFold | None = None  # the run of the last record

    def add(self, record: Record) -> None:
        """Take the next record."""
        self.take((record,))

    def take(self, records: Iterable[Record]) -> None:
        """Take the next records, all of them."""
        run = self._run
        for record in records:
            if run is None or run.run_id != record.event.run_id:
                run = self._run = self._switch(record)
            problems = run.add(record)
            if problems:
                self.report(record.line, problems)

    def report(self, line: int, problems: Iterable[str]) -> None:
        """Note what is wrong with a line."""
        for problem in problems:
            self.issue_count += 1
            issue = Issue(line, problem)
            if self._on_issue is not None:
                self._on_issue(issue)
            if len(self.issues) < MAX_ISSUES:
                self.issues.append(issue)

    @property
    def runs(self) -> list[RunInfo]:
        """Every run, in the order in which they first appear."""
        return [run.info() for run in self._runs.values()]

    @property
    def last_run_id(self) -> str | None:
        """The run that started last; in a file without a start, the run of the last record."""
        started = [run for run in self._runs.values() if run.start_line]
        if started:
            return max(started, key=lambda run: run.start_line).run_id
        return self._run.run_id if self._run else None

    def run(self, run_id: str | None = None) -> RunFold | None:
        """The state of one run, by default of the last; None if there is no such run."""
        wanted = self.last_run_id if run_id is None else run_id
        return None if wanted is None else self._runs.get(wanted)

    def snapshot(self, run_id: str | None = None) -> SignalSnapshot:
        """What one run looks like, by default the last."""
        run = self.run(run_id)
        seen = run.snapshot() if run else SignalSnapshot(run_id=run_id)
        return msgspec.structs.replace(seen, issues=tuple(self.issues), issue_count=self.issue_count)

    def _switch(self, record: Record) -> RunFold:
        run_id = record.event.run_id
        if run_id not in self._runs:
            self._runs[run_id] = RunFold(record)
        return self._runs[run_id]
