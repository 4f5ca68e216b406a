"""Reading a telemetry file back: its records, its runs, what is wrong with it and what it says."""

import os
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final

from gradience.errors import TelemetryError
from gradience.vnext import journal, runs, seal
from gradience.vnext.record import Record, decoded
from gradience.vnext.run_fold import Rewind
from gradience.vnext.signals import Issue, RunInfo, SealSeen, SignalSnapshot
from gradience.vnext.summary import Summary
from gradience.vnext.types import AnyEvent, ConfigSnapshot, Eval, EvalMetrics, Metrics, TrainStep, UnknownEvent

BLOCK: Final = 256  # records that are watched at once: they stay in the processor's cache

_RETOLD = (TrainStep, Eval, Metrics)


class TelemetryReader:
    """A telemetry file: plain or gzip, `-` for stdin, of this release or a public one, finished or being written.

    Iterating gives the records of one run, by default the one that started last, in its last attempt: after a resume,
    steps that an earlier attempt had already told are left out. Memory stays bounded; what `summarize`, `validate`,
    `runs` and the `latest_...` methods answer comes from a single pass, made at the first question and kept.

    With `strict=True` the first issue raises TelemetryError instead of being noted.

    Raises:
        TelemetryError: The file is missing or cannot be read.
    """

    def __init__(self, path: str | Path, *, run_id: str | None = None, strict: bool = False) -> None:
        self.path = path
        self._run_id = run_id
        self._strict = strict
        self._source = _spooled_stdin(self) if str(path) == journal.STDIN else Path(path)
        with journal.open_bytes(self._source):
            pass  # a file that cannot be opened is told here, not at the first question

    def __iter__(self) -> Iterator[Record]:
        return self.iter_events()

    def iter_events(self, event_type: str | None = None) -> Iterator[Record]:
        """The run's records in the order of the file, of one event name if it is given."""
        run_id, rewinds = self._wanted()
        found = False
        for record in self._records(self._new_summary()):
            event = record.event
            if event.run_id != run_id:
                continue
            found = True
            if (event_type is None or event.name == event_type) and not (rewinds and _is_retold(record, rewinds)):
                yield record
        if self._run_id is not None and not found:
            self._refuse_run()

    def runs(self) -> list[RunInfo]:
        """Every run in the file, in the order in which they first appear."""
        return self._summary.runs

    @property
    def issues(self) -> list[Issue]:
        """What is wrong with the file, each thing once, the first thousand; `issue_count` counts all."""
        return self._summary.issues

    @property
    def issue_count(self) -> int:
        """How many things are wrong with the file."""
        return self._summary.issue_count

    def validate(self) -> list[Issue]:
        """Read every line and check it against the contract: the issues."""
        return self.issues

    def latest_config(self) -> ConfigSnapshot | None:
        """The configuration that the run's latest `run_start` carried."""
        return self.summarize().config

    def latest_eval(self, split: str) -> EvalMetrics | None:
        """The run's latest evaluation of one split."""
        return self.summarize().evals.get(split)

    def summarize(self) -> SignalSnapshot:
        """What the run looks like.

        Raises:
            TelemetryError: The file holds no telemetry at all, or not the run that was asked for.
        """
        summary = self._summary
        if self._run_id is not None and summary.run(self._run_id) is None:
            self._refuse_run()
        if not summary.runs and summary.issues:
            raise TelemetryError(f"{self.path} holds no telemetry: {summary.issues[0]}")
        return summary.snapshot(self._run_id)

    def watched(self, watch: Callable[[Sequence[Record]], object]) -> SignalSnapshot:
        """As `summarize`; on the way `watch` gets every record of the file, whatever its run, in blocks.

        Raises:
            TelemetryError: As `summarize`.
        """
        summary = self._new_summary()
        records = self._records(summary)
        while block := list(islice(records, BLOCK)):
            summary.take(block)
            watch(block)
        self._summary = summary  # one pass answers everything
        return self.summarize()

    def seal(self) -> SealSeen | None:
        """The seal of the run's end, checked against the file; None in a run without one, as older releases wrote it.

        Raises:
            TelemetryError: The file cannot be read any more.
        """
        run = self._summary.run(self._run_id)
        if run is None or run.seal is None:
            return None
        is_intact = seal.holds(self._source, run.seal)
        return SealSeen(line=run.end_line, lines=run.seal.lines, is_intact=is_intact)

    @cached_property
    def _summary(self) -> Summary:
        summary = self._new_summary()
        summary.take(self._records(summary))
        return summary

    def _new_summary(self) -> Summary:
        return Summary(self._raise if self._strict else None)

    def _records(self, summary: Summary) -> Iterator[Record]:
        return decoded(journal.Scan(self._source), summary.report)

    def _raise(self, issue: Issue) -> None:
        raise TelemetryError(f"{self.path}, {issue}")

    def _refuse_run(self) -> None:
        held = ", ".join(run.run_id for run in self.runs()) or "none"
        raise TelemetryError(f"{self.path} holds no run {self._run_id!r}; its runs: {held}")

    def _wanted(self) -> tuple[str | None, Sequence[Rewind]]:
        """The run to be read and where it was told anew; only a file with several starts needs a pass for that."""
        last = runs.last(self._source)
        run_id = self._run_id or (last.run_id if last else None)
        if last is None or last.starts <= 1:
            return run_id, ()
        run = self._summary.run(run_id)
        return run_id, run.rewinds if run else ()


def _is_retold(record: Record, rewinds: Sequence[Rewind]) -> bool:
    step = record.event.step
    if step is None or not _can_be_retold(record.event):
        return False
    return any(record.line < rewind.line and step >= rewind.step for rewind in rewinds)


def _can_be_retold(event: AnyEvent | UnknownEvent) -> bool:
    """An audit is of a checkpoint, which a resume does not undo."""
    return isinstance(event, _RETOLD) and not (isinstance(event, Metrics) and event.kind == "lora_audit")


def _spooled_stdin(reader: TelemetryReader) -> Path:
    """Stdin as a file, so that it can be read more than once; it goes with the reader."""
    import shutil  # these two cost a fifth of this module's import, and few read stdin
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix="gradience-", suffix=".jsonl")
    weakref.finalize(reader, os.unlink, name)
    with os.fdopen(descriptor, "wb") as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool)
    return Path(name)
